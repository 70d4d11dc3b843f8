"""API errors. Each class fixes its HTTP status and the `type` and `code` in OpenAI's error
envelope, `{"error": {"message", "type", "param", "code"}}`.

The code that raises one gives the message and the parameter; the docstring is the default message
and the description in the OpenAPI document. `app.http.error_handlers` turns them into responses.
"""

from typing import ClassVar


class ApiError(Exception):
    """The server had an error while processing your request. Please retry."""

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
        # Those of the class, and for some errors what depends on the request.
        self.response_headers = dict(type(self).headers)
        super().__init__(self.message)

    def body(self) -> dict[str, dict[str, str | None]]:
        """The error envelope as JSON values."""
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


class StorageQuotaExceeded(InvalidRequest):
    """The project's storage quota is used up. Delete files or models of it, then upload again."""

    code = "storage_quota_exceeded"


class Unauthenticated(ApiError):
    """You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    """You do not have permission to do this."""

    status = 403
    type = "invalid_request_error"


class NotFound(ApiError):
    """Not found."""

    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """The model does not exist or you do not have access to it."""

    code = "model_not_found"

    def __init__(self, name: str, *, alias_of: str | None = None) -> None:
        # OpenAI's wording, which clients match on.
        message = f"The model `{name}` does not exist or you do not have access to it."
        if alias_of is not None:
            message += (
                f" It is an alias of `{alias_of}`, which was deleted or is no longer shared with "
                f"this project. Point it to another model by POST /v1/aliases/{name}."
            )
        super().__init__(message)


class MethodNotAllowed(ApiError):
    """Method not allowed."""

    status = 405
    type = "invalid_request_error"


class RequestTimeout(ApiError):
    """The request body did not arrive in time. Please retry."""

    status = 408
    type = "invalid_request_error"


class PayloadTooLarge(ApiError):
    """The request body is too large."""

    status = 413
    type = "invalid_request_error"


class UnsupportedMediaType(ApiError):
    """The content encoding of the request is not supported."""

    status = 415
    type = "invalid_request_error"


class HeadersTooLarge(ApiError):
    """The request headers are too large."""

    status = 431
    type = "invalid_request_error"


class RateLimited(ApiError):
    """Too many requests. Please retry in a moment."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class TooManyOpenUploads(RateLimited):
    """This project has too many unfinished uploads. Complete or cancel one, then retry."""

    # The official SDKs retry for seconds only; an upload takes longer to end.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


class TooManyQueuedJobs(RateLimited):
    """This project has too many queued jobs. Retry when one has started, or cancel one."""

    # The official SDKs retry for seconds only; a queue takes longer to move.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


class InsufficientStorage(ApiError):
    """The service's disk is nearly full and uploads are refused. Its operator must make room."""

    status = 507
    type = "server_error"
    code = "insufficient_storage"
    # The official SDKs retry for seconds only; making room takes longer.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


class ServiceUnavailable(ApiError):
    """Service temporarily unavailable. Please retry."""

    status = 503
    type = "server_error"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class ModelDamaged(ServiceUnavailable):
    """The stored model is damaged and cannot be used until the service's operator restores it."""

    code = "model_damaged"
    headers: ClassVar[dict[str, str]] = {"x-should-retry": "false"}
