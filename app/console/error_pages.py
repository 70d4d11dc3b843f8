"""Pages, and parts of pages, for requests that fail."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.console.api_client import ApiCallError, MissingRole
from app.console.dependencies import LoginRequired
from app.console.page import is_fragment, render
from app.errors import ApiError
from app.http import error_handlers
from app.http.console_cookie import CONSOLE_API_PATH, CONSOLE_PATH

log = logs.get_logger(__name__)

TITLES = {403: "Not allowed", 404: "Not found", 429: "Too many requests", 503: "Unavailable"}


Handler = Callable[[Request, Exception], Response | Awaitable[Response]]


def register(app: FastAPI) -> None:
    """Register the handlers of exceptions that only the console's pages raise, and let the others
    answer the console's requests with pages."""
    # The innermost one: those around it would answer as the API does.
    app.user_middleware.append(Middleware(CrashPages))
    app.add_exception_handler(LoginRequired, _handle_login_required)
    app.add_exception_handler(ApiCallError, _handle_api_error)
    app.add_exception_handler(MissingRole, _handle_missing_role)
    for kind in error_handlers.HANDLED_EXCEPTIONS:
        app.add_exception_handler(kind, _with_pages(app.exception_handlers[kind]))


class CrashPages:
    """Middleware that responds with a page where a page's route has failed unexpectedly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_page(scope["path"]):
            await self._app(scope, receive, send)
            return
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            raise
        except Exception as error:
            known = error_handlers.to_api_error(error, scope["method"], scope["path"])
            if has_started or type(known) is not ApiError:
                raise
            log.exception("request.crashed")
            response = _render(Request(scope), known.status, known.message)
            await response(scope, receive, send)


def _is_page(path: str) -> bool:
    return path.startswith(CONSOLE_PATH) and not path.startswith(CONSOLE_API_PATH)


def _with_pages(handle: Handler) -> Handler:
    async def handle_with_pages(request: Request, error: Exception) -> Response:
        path = request.scope["path"]
        if _is_page(path):
            api_error = error_handlers.to_api_error(error, request.method, path)
            # For the security log; the middleware sees only the status.
            request.scope.setdefault("error_codes", []).append(api_error.error_code)
            response = _render(request, api_error.status, api_error.message)
            response.headers.update(api_error.response_headers)
            return response
        answer = handle(request, error)
        return answer if isinstance(answer, Response) else await answer

    return handle_with_pages


async def _handle_login_required(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoginRequired)
    return error.response


async def _handle_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiCallError)
    return _render(request, error.status, str(error))


async def _handle_missing_role(request: Request, error: Exception) -> Response:
    return _render(request, 403, str(error))


def _render(request: Request, status: int, message: str) -> Response:
    if request.url.path.startswith(CONSOLE_API_PATH):
        kind = error_handlers.ERRORS_BY_STATUS.get(status, ApiError)
        return error_handlers.to_response(kind(message))
    template = "error_fragment.html" if is_fragment(request) else "error.html"
    title = TITLES.get(status, "That did not work")
    return render(request, template, status=status, title=title, message=message)
