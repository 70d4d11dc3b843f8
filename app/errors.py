"""Errors that carry their own HTTP shape; only `app.http.error_handlers` renders them.

Each class fixes status, `type` and `code` of OpenAI's error envelope
(`{"error": {"message", "type", "param", "code"}}`); the raiser gives sentence and parameter.
"""

from typing import ClassVar


class ApiError(Exception):
    """The server had an error while processing your request. Retry it; then see the log."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    param: ClassVar[str | None] = None
    headers: ClassVar[dict[str, str]] = {}

    def __init__(
        self, message: str | None = None, *, param: str | None = None, code: str | None = None
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.error_param = param if param is not None else type(self).param
        self.error_code = code if code is not None else type(self).code
        super().__init__(self.message)

    def body(self) -> dict[str, dict[str, str | None]]:
        """The envelope, ready to be sent as JSON."""
        return {
            "error": {
                "message": self.message,
                "type": type(self).type,
                "param": self.error_param,
                "code": self.error_code,
            }
        }


class InvalidRequest(ApiError):
    """The request is not valid."""

    status = 400
    type = "invalid_request_error"


class Unauthenticated(ApiError):
    """You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    """This key may not do that."""

    status = 403
    type = "invalid_request_error"


class NotFound(ApiError):
    """There is nothing here."""

    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """There is no such model for whoever asks."""

    code = "model_not_found"

    def __init__(self, name: str) -> None:
        # In the words that clients know.
        super().__init__(f"The model `{name}` does not exist or you do not have access to it.")


class MethodNotAllowed(ApiError):
    """This method is not allowed here."""

    status = 405
    type = "invalid_request_error"


class RequestTimeout(ApiError):
    """The request's body did not arrive in time. Send it again."""

    status = 408
    type = "invalid_request_error"


class PayloadTooLarge(ApiError):
    """The request body is too large."""

    status = 413
    type = "invalid_request_error"


class UnsupportedMediaType(ApiError):
    """The request's encoding is not supported."""

    status = 415
    type = "invalid_request_error"


class HeadersTooLarge(ApiError):
    """The request's headers are too large."""

    status = 431
    type = "invalid_request_error"


class RateLimited(ApiError):
    """Too many requests. Try again in a moment."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class TooManyQueuedJobs(RateLimited):
    """Too many jobs of this project wait. Try again when one has started, or cancel one."""

    # A queue does not move within the seconds for which the official SDKs try again.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


class ServiceUnavailable(ApiError):
    """The service cannot answer just now. Try again in a moment."""

    status = 503
    type = "server_error"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}
