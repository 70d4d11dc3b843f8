"""The log-in page, and what all ways to log in have in common."""

from fastapi import Request, Response

from app.console.page import get_prefix, get_settings, render
from app.http.client_address import rate_limit_name
from app.http.console_cookie import CONSOLE_PATH
from app.http.rate_limits import InMemoryRateLimiter, RateLimit

# Failed attempts of one address per minute; no one can guess a key, but each is a query, or a
# request to the identity provider.
LOGIN_LIMIT = RateLimit(requests=30, bytes=1)

_limiter = InMemoryRateLimiter(LOGIN_LIMIT)


def render_login(
    request: Request,
    *,
    status: int = 200,
    next: str = "",
    code: str = "",
    problem: str | None = None,
) -> Response:
    """Render the page; `problem` is a sentence about the log-in that was tried."""
    settings = get_settings(request)
    provider = settings.oidc_name if settings.oidc_issuer else None
    return render(
        request,
        "login.html",
        status=status,
        next=next,
        code=code,
        problem=problem,
        provider=provider,
    )


def refuse_if_throttled(request: Request, next: str = "") -> Response | None:
    """The page for an address with too many failed attempts; None for others."""
    if _limiter.take(get_address(request), count=0).remaining_requests >= 1:
        return None
    problem = "Too many attempts. Wait a minute, and try again."
    return render_login(request, status=429, next=next, problem=problem)


def count_failure(request: Request) -> None:
    """Count a failed attempt of the request's address."""
    _limiter.take(get_address(request))


def take_back_failure(request: Request) -> None:
    """Take back what was counted before it was known that the attempt would succeed."""
    _limiter.give_back(get_address(request))


def get_address(request: Request) -> str:
    """The client's address, as limits and the security log name it."""
    return rate_limit_name(request.scope["client_address"])


def build_target(request: Request, next_path: str) -> str:
    """The page to open after the log-in, which is one of the console's whatever `next` says."""
    is_own = next_path.startswith("/") and not next_path.startswith(("//", "/\\"))
    home = f"{get_prefix(request)}{CONSOLE_PATH}"
    return f"{home}{next_path}" if is_own else f"{home}/"
