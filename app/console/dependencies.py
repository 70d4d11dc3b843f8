"""Dependencies of the console's pages: the session's user, and their client of the API."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from app.auth.console_sessions import ConsoleIdentity
from app.console.api_client import ApiClient
from app.console.page import get_prefix, is_fragment
from app.console.page_security import check_csrf
from app.errors import Unauthenticated
from app.http.console_cookie import CONSOLE_API_PATH, CONSOLE_PATH


class LoginRequired(Exception):
    """No session, or one that has ended. `response` leads to the log-in page and back."""

    def __init__(self, response: RedirectResponse) -> None:
        super().__init__()
        self.response = response


async def get_api(request: Request) -> ApiClient:
    """The API as the session's user. Raises LoginRequired, or Unauthenticated where a script asks,
    and Forbidden without a CSRF token."""
    identity: ConsoleIdentity | None = request.scope.get("console_identity")
    if identity is None and request.url.path.startswith(CONSOLE_API_PATH):
        raise Unauthenticated("The session has ended. Log in again.")
    if identity is None:
        raise LoginRequired(_redirect_to_login(request))
    await check_csrf(request, identity.csrf_token)
    return ApiClient(request.app, request.scope, identity)


ApiDep = Annotated[ApiClient, Depends(get_api)]


def _redirect_to_login(request: Request) -> RedirectResponse:
    path = request.url.path.removeprefix(CONSOLE_PATH)
    query = f"?{request.url.query}" if request.url.query else ""
    can_return = request.method == "GET" and not is_fragment(request)
    suffix = f"?{urlencode({'next': path + query})}" if can_return and path else ""
    url = f"{get_prefix(request)}{CONSOLE_PATH}/login{suffix}"
    if is_fragment(request):
        # htmx would put the log-in page into the part of this page that it asked for.
        return RedirectResponse(url, 204, headers={"hx-redirect": url})
    return RedirectResponse(url, 303)
