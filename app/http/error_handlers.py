"""Errors become OpenAI's envelope: here, and nowhere else."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import logs
from app.db.session import DatabaseUnavailable
from app.errors import (
    ApiError,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from app.storage import StorageUnavailable
from app.wire.validation_errors import refusal

log = logs.get(__name__)

BY_STATUS: dict[int, type[ApiError]] = {
    kind.status: kind
    for kind in (
        InvalidRequest,
        Unauthenticated,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        TooSlow,
        TooLarge,
        Unsupported,
    )
}
KNOWN = (ApiError, HTTPException, RequestValidationError, StorageUnavailable, DatabaseUnavailable)


def register(app: FastAPI) -> None:
    """Have the app render these; what is not among them is a crash and reaches the guard."""
    for kind in KNOWN:
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    answer = render(translate(error, request.method, request.scope["path"]))
    if isinstance(error, HTTPException):
        # Such as Allow, which names the methods that a path has.
        answer.headers.update(error.headers or {})
    return answer


def render(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body(), status_code=error.status, headers=dict(error.headers))


def translate(error: Exception, method: str, path: str) -> ApiError:
    """What a client is told of an exception. Nothing of one that is not known."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _refused(error)
    if isinstance(error, HTTPException):
        return _of_status(error, method, path)
    if isinstance(error, StorageUnavailable):
        log.error("storage.unavailable", reason=str(error))
        return Unavailable("The file storage does not answer just now. Try again in a moment.")
    if isinstance(error, DatabaseUnavailable):
        log.error("database.unavailable", reason=str(error))
        return Unavailable("The database does not answer just now. Try again in a moment.")
    return ApiError()


def _of_status(error: HTTPException, method: str, path: str) -> ApiError:
    if error.status_code == NotFound.status:
        return NotFound(_invalid_url(method, path))
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(f"Not allowed to {method} on {path}.")
    return BY_STATUS.get(error.status_code, ApiError)()


def _invalid_url(method: str, path: str) -> str:
    message = f"Invalid URL ({method} {path})"
    if path.startswith("/v1/"):
        return message
    return f"{message}. The API is below /v1: end your client's base URL with /v1."


def _refused(error: RequestValidationError) -> InvalidRequest:
    """FastAPI's findings: their places begin with where in the request they are."""
    problem = error.errors()[0]
    loc = problem["loc"]
    inside = loc[1:] if loc and loc[0] in ("body", "query", "path", "header") else loc
    return refusal([{**problem, "loc": inside}], body=error.body)
