"""Settings: sessions of the console, which admins see and end."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.auth import console_session_list, console_sessions
from app.auth.principals import AdminPrincipal
from app.console.api_client import ApiClient, MissingRole
from app.console.dependencies import ApiDep
from app.console.page import get_prefix, render
from app.http.console_cookie import CONSOLE_PATH
from app.http.dependencies import AppState, AppStateDep, run_autocommit, run_in_transaction
from app.security_log import SecurityEvent

MAX_SESSIONS = 200

router = APIRouter(prefix=f"{CONSOLE_PATH}/settings/sessions", include_in_schema=False)


@router.get("")
async def list_sessions(request: Request, state: AppStateDep, api: ApiDep) -> Response:
    owner_id = _require_admin(api).organization_id
    sessions = await run_autocommit(
        state,
        lambda session: console_session_list.list_active(session, owner_id, limit=MAX_SESSIONS + 1),
    )
    return render(
        request,
        "settings_sessions.html",
        sessions=sessions[:MAX_SESSIONS],
        has_more=len(sessions) > MAX_SESSIONS,
    )


@router.post("/{session_id}/end")
async def end_session(
    session_id: str, request: Request, state: AppStateDep, api: ApiDep
) -> Response:
    owner_id = _require_admin(api).organization_id
    await run_in_transaction(
        state, lambda session: console_sessions.revoke(session, session_id, owner_id)
    )
    _record(request, state, api)
    return _go(request)


@router.post("/end-all")
async def end_all_sessions(request: Request, state: AppStateDep, api: ApiDep) -> Response:
    """End the sessions of everybody, the admin's own too."""
    owner_id = _require_admin(api).organization_id
    await run_in_transaction(state, lambda session: console_sessions.revoke_all(session, owner_id))
    _record(request, state, api)
    return _go(request)


def _require_admin(api: ApiClient) -> AdminPrincipal:
    if api.identity.admin is None:
        raise MissingRole("This needs an admin key. Log in with one to see it.")
    return api.identity.admin


def _record(request: Request, state: AppState, api: ApiClient) -> None:
    """Record the change. It is no request to the API, which would record it, and that of a session
    with a project's role too counts as the project's."""
    state.security_log.write(
        SecurityEvent.ADMIN_REQUEST,
        method=request.method,
        path=request.url.path,
        key=_require_admin(api).key_id,
        user=api.identity.subject,
    )


def _go(request: Request) -> Response:
    return RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/settings/sessions", 303)
