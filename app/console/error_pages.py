"""Pages, and parts of pages, for requests that fail."""

from fastapi import FastAPI, Request, Response

from app.console.api_client import ApiCallError, MissingRole
from app.console.dependencies import LoginRequired
from app.console.page import is_fragment, render

TITLES = {403: "Not allowed", 404: "Not found", 429: "Too many requests", 503: "Unavailable"}


def register(app: FastAPI) -> None:
    """Register the handlers of exceptions that only the console's pages raise."""
    app.add_exception_handler(LoginRequired, _handle_login_required)
    app.add_exception_handler(ApiCallError, _handle_api_error)
    app.add_exception_handler(MissingRole, _handle_missing_role)


async def _handle_login_required(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoginRequired)
    return error.response


async def _handle_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiCallError)
    return _render(request, error.status, str(error))


async def _handle_missing_role(request: Request, error: Exception) -> Response:
    return _render(request, 403, str(error))


def _render(request: Request, status: int, message: str) -> Response:
    template = "error_fragment.html" if is_fragment(request) else "error.html"
    title = TITLES.get(status, "That did not work")
    return render(request, template, status=status, title=title, message=message)
