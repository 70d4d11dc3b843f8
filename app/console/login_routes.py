"""Log-in and log-out. A key is typed once; the browser keeps a session's secret in its place."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.auth import console_sessions
from app.auth.console_sessions import ConsoleIdentity
from app.console.dependencies import ApiDep
from app.console.page import get_prefix, render
from app.console.page_security import check_origin
from app.http.client_address import rate_limit_name
from app.http.console_cookie import CONSOLE_PATH, choose_session_cookie
from app.http.dependencies import AppStateDep, run_in_transaction
from app.http.rate_limits import InMemoryRateLimiter, RateLimit
from app.security_log import SecurityEvent

MAX_KEY_CHARS = 500
# Failed attempts of one address per minute; no one can guess a key, but each is a query.
LOGIN_LIMIT = RateLimit(requests=30, bytes=1)

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)
_limiter = InMemoryRateLimiter(LOGIN_LIMIT)


@router.get("/login")
async def show_login(request: Request, next: str = "", code: str = "") -> Response:
    """The log-in page. A link with a one-time code only asks for a click: a program that looks at
    links, as mail scanners do, must not use it up."""
    return render(request, "login.html", next=next, code=code, problem=None)


@router.post("/login")
async def log_in(
    request: Request,
    state: AppStateDep,
    key: Annotated[str, Form(max_length=MAX_KEY_CHARS)] = "",
    code: Annotated[str, Form(max_length=MAX_KEY_CHARS)] = "",
    next: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Start a session by an API key, an admin key or a one-time code."""
    check_origin(request)
    identity: ConsoleIdentity | None = request.scope.get("console_identity")
    address = rate_limit_name(request.scope["client_address"])
    if _limiter.take(address, count=0).remaining_requests < 1:
        problem = "Too many attempts. Wait a minute, and try again."
        return render(request, "login.html", status=429, next=next, code="", problem=problem)
    secret = await run_in_transaction(
        state, lambda session: _start_session(session, key.strip(), code.strip(), identity)
    )
    if secret is None:
        _limiter.take(address)
        problem = (
            "This link was used already, or is older than an hour. Type a key instead."
            if code
            else "This key is not valid. Check that it was copied whole, and is not revoked."
        )
        return render(request, "login.html", status=401, next=next, code="", problem=problem)
    state.security_log.count(SecurityEvent.CONSOLE_LOGIN, address=address)
    response = RedirectResponse(_build_target(request, next), 303)
    cookie = choose_session_cookie(request.scope, state.settings)
    cookie.write(response.headers, secret, max_age=console_sessions.SESSION_SECONDS)
    return response


@router.post("/logout")
async def log_out(request: Request, state: AppStateDep, api: ApiDep) -> Response:
    """End the session, for every copy of its cookie."""
    session_id = api.identity.session_id
    await run_in_transaction(state, lambda session: console_sessions.revoke(session, session_id))
    response = RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/login", 303)
    choose_session_cookie(request.scope, state.settings).write(response.headers, "", max_age=0)
    return response


def _start_session(
    session: Session, key: str, code: str, identity: ConsoleIdentity | None
) -> str | None:
    """Start a session; None if neither the key nor the code is valid.

    A key of the other kind adds to what the browser's session may do. Always a new secret: one
    that someone else may have put into the browser gains nothing.
    """
    added = (
        console_sessions.use_login_code(session, code)
        if code
        else console_sessions.find_grant(session, key)
    )
    if added is None:
        return None
    current = None
    if identity is not None:
        current = console_sessions.get_grant(session, identity.session_id)
        console_sessions.revoke(session, identity.session_id)
    return console_sessions.create(session, console_sessions.merge(current, added))


def _build_target(request: Request, next_path: str) -> str:
    """The page to open after the log-in, which is one of the console's whatever `next` says."""
    is_own = next_path.startswith("/") and not next_path.startswith(("//", "/\\"))
    home = f"{get_prefix(request)}{CONSOLE_PATH}"
    return f"{home}{next_path}" if is_own else f"{home}/"
