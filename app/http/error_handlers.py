"""Conversion of exceptions to responses with OpenAI's error envelope; done nowhere else."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import logs
from app.cpu_pool.protocol import CpuPoolError, TaskCrashed
from app.db.session import DatabaseUnavailable
from app.errors import (
    ApiError,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    ServiceUnavailable,
    Unauthenticated,
    UnsupportedMediaType,
)
from app.storage import StorageUnavailable
from app.wire.validation_errors import to_invalid_request

log = logs.get_logger(__name__)

ERRORS_BY_STATUS: dict[int, type[ApiError]] = {
    error.status: error
    for error in (
        InvalidRequest,
        Unauthenticated,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedMediaType,
        RateLimited,
    )
}
HANDLED_EXCEPTIONS = (
    ApiError,
    HTTPException,
    RequestValidationError,
    StorageUnavailable,
    DatabaseUnavailable,
    CpuPoolError,
)


def register(app: FastAPI) -> None:
    """Register the handlers. Any other exception is a crash, handled by the middleware."""
    for kind in HANDLED_EXCEPTIONS:
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    api_error = to_api_error(error, request.method, request.scope["path"])
    # For the security log; the middleware sees only the status.
    request.scope.setdefault("error_codes", []).append(api_error.code)
    response = to_response(api_error)
    if isinstance(error, HTTPException):
        # For example Allow, which lists the methods of a path.
        response.headers.update(error.headers or {})
    return response


def to_response(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body(), status_code=error.status, headers=error.response_headers)


def to_api_error(error: Exception, method: str, path: str) -> ApiError:
    """The error to respond with. An unknown exception becomes a 500 without any details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _from_validation_error(error)
    if isinstance(error, HTTPException):
        return _from_http_exception(error, method, path)
    if isinstance(error, StorageUnavailable):
        log.error("storage.unavailable", reason=str(error))
        return ServiceUnavailable("The file storage is unavailable. Please retry in a moment.")
    if isinstance(error, DatabaseUnavailable):
        log.error("database.unavailable", reason=str(error))
        return ServiceUnavailable("The database is unavailable. Please retry in a moment.")
    if isinstance(error, CpuPoolError):
        return _from_cpu_pool_error(error)
    return ApiError()


def _from_cpu_pool_error(error: CpuPoolError) -> ApiError:
    log.error("cpu_pool.failed", kind=type(error).__name__, reason=str(error))
    if isinstance(error, TaskCrashed):
        return ApiError()
    return ServiceUnavailable("The server is too busy to do this now. Please retry in a moment.")


def _from_http_exception(error: HTTPException, method: str, path: str) -> ApiError:
    if error.status_code == NotFound.status:
        return NotFound(_invalid_url_message(method, path))
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(f"Not allowed to {method} on {path}.")
    return ERRORS_BY_STATUS.get(error.status_code, ApiError)()


def _invalid_url_message(method: str, path: str) -> str:
    message = f"Invalid URL ({method} {path})"
    if path.startswith("/v1/"):
        return message
    return f"{message}. The API is under /v1: end your client's base URL with /v1."


def _from_validation_error(error: RequestValidationError) -> InvalidRequest:
    """FastAPI's errors: their `loc` starts with the part of the request, such as "body"."""
    problem = error.errors()[0]
    loc = problem["loc"]
    loc_in_part = loc[1:] if loc and loc[0] in ("body", "query", "path", "header") else loc
    return to_invalid_request([{**problem, "loc": loc_in_part}], body=error.body)
