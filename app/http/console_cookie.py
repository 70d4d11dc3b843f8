"""Cookies of the web console, and the paths that they are for."""

import re
from dataclasses import dataclass
from enum import StrEnum

from starlette.datastructures import MutableHeaders
from starlette.types import Scope

from app.http.public_origin import is_https
from app.settings import Settings

CONSOLE_PATH = "/console"
# Under it, the console passes requests of its own pages on to the API.
CONSOLE_API_PATH = f"{CONSOLE_PATH}/api"
# The same for everyone: needs no session.
CONSOLE_STATIC_PATH = f"{CONSOLE_PATH}/static/"
COOKIE_NAME = "luthier_console"
COOKIE_VALUE = re.compile(rb"[A-Za-z0-9_-]{1,100}")


class SameSite(StrEnum):
    """Requests started by other sites that carry the cookie: none, or those that open a page."""

    STRICT = "Strict"
    LAX = "Lax"


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie with a secret, for a browser that reaches the console in one certain way."""

    name: str
    path: str
    is_secure: bool
    same_site: SameSite

    def read(self, scope: Scope) -> str | None:
        """The value that a request has; None without one."""
        return read_cookie(scope, self.name)

    def write(self, headers: MutableHeaders, value: str, *, max_age: int) -> None:
        """Set the cookie. `max_age` is in seconds; 0 deletes it."""
        flags = f"HttpOnly; SameSite={self.same_site}" + ("; Secure" if self.is_secure else "")
        headers.append(
            "set-cookie", f"{self.name}={value}; Path={self.path}; Max-Age={max_age}; {flags}"
        )


def choose_session_cookie(scope: Scope, settings: Settings) -> Cookie:
    """The cookie of sessions. Strict: no request that another site starts carries it."""
    return build_cookie(scope, settings, COOKIE_NAME, CONSOLE_PATH, SameSite.STRICT)


def build_cookie(
    scope: Scope, settings: Settings, name: str, path: str, same_site: SameSite
) -> Cookie:
    """Build a cookie for the way in which a request has come, with the strictest prefix for it.

    With TLS, browsers accept a name with `__Host-` from this host alone, so that no other
    subdomain can put a session of its own into the browser. Such a cookie is for all paths: the
    API reads none, and without a path prefix the host serves nothing else. Behind a prefix it may,
    and those programs should not get the cookie: there `__Secure-` at least refuses one that came
    without TLS. Only the name for the request's own way is read, or a cookie without the prefix
    would still be accepted.
    """
    if not is_https(scope, settings):
        return Cookie(name, f"{settings.path_prefix}{path}", False, same_site)
    if settings.path_prefix:
        return Cookie(f"__Secure-{name}", f"{settings.path_prefix}{path}", True, same_site)
    return Cookie(f"__Host-{name}", "/", True, same_site)


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
