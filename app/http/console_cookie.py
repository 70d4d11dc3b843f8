"""Cookie of the web console's sessions, and the paths that it is for."""

from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

CONSOLE_PATH = "/console"
# Under it, the console passes requests of its own pages on to the API.
CONSOLE_API_PATH = f"{CONSOLE_PATH}/api"
# The same for everyone: needs no session.
CONSOLE_STATIC_PATH = f"{CONSOLE_PATH}/static/"
COOKIE_NAME = "luthier_console"


def read_session_secret(scope: Scope) -> str | None:
    """The secret in the request's cookie; None without one."""
    cookies = SimpleCookie()
    try:
        for header in Headers(scope=scope).getlist("cookie"):
            cookies.load(header)
    except CookieError:
        return None
    morsel = cookies.get(COOKIE_NAME)
    return morsel.value if morsel is not None and morsel.value else None


def set_session_cookie(
    headers: MutableHeaders, secret: str, *, path: str, is_https: bool, max_age: int
) -> None:
    """Set the cookie. `path` is the console's, as the browser sees it; `max_age` is in seconds.

    Strict: no request that another site starts carries it.
    """
    flags = "HttpOnly; SameSite=Strict" + ("; Secure" if is_https else "")
    headers.append("set-cookie", f"{COOKIE_NAME}={secret}; Path={path}; Max-Age={max_age}; {flags}")
