"""Log-in through an identity provider (OpenID Connect)."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app import logs
from app.auth import console_sessions, oidc_roles
from app.auth.console_sessions import SESSION_SECONDS, Grant
from app.auth.oidc_login import OidcLogin
from app.auth.oidc_provider import LoginRejected, OidcProvider, ProviderUnavailable
from app.console.login_page import (
    build_target,
    count_failure,
    get_address,
    refuse_if_throttled,
    render_login,
    take_back_failure,
)
from app.console.page import get_prefix, get_settings, render
from app.errors import NotFound
from app.http.console_cookie import (
    CONSOLE_PATH,
    Cookie,
    SameSite,
    build_cookie,
    choose_session_cookie,
)
from app.http.dependencies import AppStateDep, run_in_transaction
from app.http.public_origin import find_origin
from app.security_log import SecurityEvent
from app.settings import Settings

log = logs.get_logger(__name__)

LOGIN_PATH = f"{CONSOLE_PATH}/login/oidc"
COOKIE_NAME = "luthier_oidc"
# From the click on the log-in page to the way back from the provider.
LOGIN_SECONDS = 900
MAX_CODE_CHARS = 4096

UNAVAILABLE = "The identity provider cannot be reached. Try again later, or log in with a key."
EXPIRED = "This log-in took too long, was begun in another browser, or is used up. Log in again."
DENIED = "The identity provider did not let you in. Try again, or ask its administrators."
REJECTED = "The identity provider did not prove who you are. Log in again."
NO_ROLE = (
    "You have no role in Luthier. Ask its operator to give one to a group of yours, then log in "
    "again."
)

router = APIRouter(prefix=LOGIN_PATH, include_in_schema=False)


@router.get("")
async def begin(request: Request, next: str = "") -> Response:
    """Lead the browser to the provider. A link, since forms may lead to this host only (CSP)."""
    login = OidcLogin.begin(next)
    try:
        url = await _get_provider(request).build_login_url(login, _build_redirect_uri(request))
    except ProviderUnavailable as error:
        log.warning("console.oidc_unavailable", reason=str(error))
        return render_login(request, status=503, next=next, problem=UNAVAILABLE)
    response = RedirectResponse(url, 303)
    _choose_cookie(request).write(response.headers, login.secret, max_age=LOGIN_SECONDS)
    return response


@router.get("/callback")
async def finish(
    request: Request,
    state: AppStateDep,
    code: str = "",
    error: str = "",
    iss: str | None = None,
    login_state: Annotated[str, Query(alias="state")] = "",
) -> Response:
    """Start a session for the user whom the provider has sent back with a code.

    The answer is a page that opens the next one, not a redirect: the browser sends no cookie that
    is SameSite=Strict while it follows another site's redirects.
    """
    provider = _get_provider(request)
    throttled = refuse_if_throttled(request)
    if throttled is not None:
        return throttled
    # Before the provider is asked, or as many at once as one likes would ask it.
    count_failure(request)
    login = OidcLogin.resume(_choose_cookie(request).read(request.scope), login_state)
    if login is None or not 0 < len(code or error) <= MAX_CODE_CHARS:
        return _refuse(request, 401, EXPIRED)
    if error:
        log.warning("console.oidc_denied", reason=error[:100])
        return _refuse(request, 403, DENIED)
    try:
        claims = await provider.fetch_claims(login, code, iss, _build_redirect_uri(request))
    except ProviderUnavailable as reason:
        log.warning("console.oidc_unavailable", reason=str(reason))
        return _refuse(request, 503, UNAVAILABLE)
    except LoginRejected as reason:
        log.warning("console.oidc_rejected", reason=str(reason))
        return _refuse(request, 401, REJECTED)
    started = await run_in_transaction(
        state, partial(_start_session, settings=state.settings, claims=claims)
    )
    if started is None:
        return _refuse(request, 403, NO_ROLE)
    grant, secret = started
    take_back_failure(request)
    address = get_address(request)
    state.security_log.count(SecurityEvent.CONSOLE_LOGIN, address=address, user=grant.subject)
    target = build_target(request, login.next_path)
    response = render(request, "login_done.html", target=target)
    choose_session_cookie(request.scope, state.settings).write(
        response.headers, secret, max_age=SESSION_SECONDS
    )
    _choose_cookie(request).write(response.headers, "", max_age=0)
    return response


def _start_session(
    session: Session, *, settings: Settings, claims: Mapping[str, Any]
) -> tuple[Grant, str] | None:
    """Start a session; None for a user without a role. Its secret is new: one that someone else has
    put into the browser gains nothing."""
    grant = oidc_roles.find_grant(session, settings, claims)
    return None if grant is None else (grant, console_sessions.create(session, grant))


def _refuse(request: Request, status: int, problem: str) -> Response:
    """The log-in page with a sentence; the log-in that failed cannot be tried again."""
    response = render_login(request, status=status, problem=problem)
    _choose_cookie(request).write(response.headers, "", max_age=0)
    return response


def _get_provider(request: Request) -> OidcProvider:
    provider: OidcProvider | None = request.app.state.oidc_provider
    if provider is None:
        raise NotFound("No identity provider is configured. Log in with a key.")
    return provider


def _build_redirect_uri(request: Request) -> str:
    """The URL that the provider sends the browser back to, as registered there."""
    origin = find_origin(request.scope, get_settings(request))
    return f"{origin}{get_prefix(request)}{LOGIN_PATH}/callback"


def _choose_cookie(request: Request) -> Cookie:
    """The cookie of a log-in. Lax, as the provider's site sends the browser back."""
    settings = get_settings(request)
    return build_cookie(request.scope, settings, COOKIE_NAME, LOGIN_PATH, SameSite.LAX)
