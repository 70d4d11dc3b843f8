"""Log-in and log-out. A key is typed once; the browser keeps a session's secret in its place."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.auth import console_login_codes, console_sessions
from app.auth.console_sessions import ConsoleIdentity
from app.console.dependencies import ApiDep
from app.console.login_page import (
    build_target,
    count_failure,
    get_address,
    refuse_if_throttled,
    render_login,
)
from app.console.page import get_prefix, render
from app.console.page_security import check_origin
from app.errors import Forbidden
from app.http.console_cookie import CONSOLE_PATH, choose_session_cookie
from app.http.dependencies import AppStateDep, run_autocommit, run_in_transaction
from app.security_log import SecurityEvent

MAX_KEY_CHARS = 500

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/login")
async def show_login(request: Request, next: str = "", code: str = "") -> Response:
    """The log-in page. A link with a one-time code only asks for a click: a program that looks at
    links, as mail scanners do, must not use it up."""
    return render_login(request, next=next, code=code)


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
    throttled = refuse_if_throttled(request, next)
    if throttled is not None:
        return throttled
    secret = await run_in_transaction(
        state, lambda session: _start_session(session, key.strip(), code.strip(), identity)
    )
    if secret is None:
        count_failure(request)
        problem = (
            "This link was used already, or is older than an hour. Type a key instead."
            if code
            else "This key is not valid. Check that it was copied whole, and is not revoked."
        )
        return render_login(request, status=401, next=next, problem=problem)
    state.security_log.count(SecurityEvent.CONSOLE_LOGIN, address=get_address(request))
    response = RedirectResponse(build_target(request, next), 303)
    cookie = choose_session_cookie(request.scope, state.settings)
    cookie.write(response.headers, secret, max_age=console_sessions.SESSION_SECONDS)
    return response


@router.post("/logout")
async def log_out(request: Request, state: AppStateDep, api: ApiDep) -> Response:
    """End the session, for every copy of its cookie."""
    identity = api.identity
    owner_id = identity.principal.organization_id
    await run_in_transaction(
        state, lambda session: console_sessions.revoke(session, identity.session_id, owner_id)
    )
    response = RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/login", 303)
    choose_session_cookie(request.scope, state.settings).write(response.headers, "", max_age=0)
    return response


@router.get("/projects")
async def choose_project(request: Request, state: AppStateDep, api: ApiDep) -> Response:
    """The projects that the session's user may switch to."""
    projects = await run_autocommit(
        state, lambda session: console_sessions.list_projects(session, api.identity)
    )
    return render(request, "switch_project.html", projects=projects)


@router.post("/projects")
async def switch_project(
    request: Request,
    state: AppStateDep,
    api: ApiDep,
    project_id: Annotated[str, Form(max_length=MAX_KEY_CHARS)] = "",
) -> Response:
    """Open another of the user's projects, in all tabs of this browser."""
    secret = await run_in_transaction(
        state, lambda session: console_sessions.switch_project(session, api.identity, project_id)
    )
    if secret is None:
        raise Forbidden(
            "This session has ended, or you are no member of this project, or it is archived. "
            "Log in again."
        )
    response = RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/", 303)
    cookie = choose_session_cookie(request.scope, state.settings)
    cookie.write(response.headers, secret, max_age=console_sessions.SESSION_SECONDS)
    return response


def _start_session(
    session: Session, key: str, code: str, identity: ConsoleIdentity | None
) -> str | None:
    """Start a session; None if neither the key nor the code is valid.

    A key of the other kind adds to what the browser's session may do. Always a new secret: one
    that someone else may have put into the browser gains nothing.
    """
    added = (
        console_login_codes.use(session, code)
        if code
        else console_sessions.find_grant(session, key)
    )
    if added is None:
        return None
    current = None
    if identity is not None:
        current = console_sessions.end_for_another(session, identity)
    return console_sessions.create(session, console_sessions.merge(current, added))
