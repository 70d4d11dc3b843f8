"""Cookie of the web console's sessions, and the paths that it is for."""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import Scope

CONSOLE_PATH = "/console"
# Under it, the console passes requests of its own pages on to the API.
CONSOLE_API_PATH = f"{CONSOLE_PATH}/api"
# The same for everyone: needs no session.
CONSOLE_STATIC_PATH = f"{CONSOLE_PATH}/static/"
COOKIE_NAME = "luthier_console"
COOKIE_VALUE = re.compile(rb"[A-Za-z0-9_-]{1,100}")


def read_session_secret(scope: Scope) -> str | None:
    """The secret in the request's cookie; None without one."""
    return read_cookie(scope, COOKIE_NAME)


def read_cookie(scope: Scope, name: str) -> str | None:
    """Read one of the console's own cookies, whose values need no quotes.

    Not by http.cookies, which takes time by the square of a quoted value's length (CVE-2024-7592):
    one request without a key would stop the process for seconds.
    """
    for key, header in scope["headers"]:
        if key != b"cookie":
            continue
        for part in header.split(b";"):
            found, _, value = part.strip().partition(b"=")
            if found == name.encode() and COOKIE_VALUE.fullmatch(value):
                return str(value, "ascii")
    return None


def set_session_cookie(
    headers: MutableHeaders, secret: str, *, path: str, is_https: bool, max_age: int
) -> None:
    """Set the cookie. `path` is the console's, as the browser sees it; `max_age` is in seconds.

    Strict: no request that another site starts carries it.
    """
    flags = "HttpOnly; SameSite=Strict" + ("; Secure" if is_https else "")
    headers.append("set-cookie", f"{COOKIE_NAME}={secret}; Path={path}; Max-Age={max_age}; {flags}")
