"""What endpoints are given: the parts of the service, a session, and whom the request acts for."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.auth.principals import AdminPrincipal, Principal
from app.broker import TaskNotifier
from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.errors import Forbidden
from app.http.rate_limits import RateLimiter
from app.safe_http.client import SafeHttpClient
from app.settings import Settings
from app.storage import ObjectStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AppState:
    """All that requests work with, joined once in `app.main`."""

    settings: Settings
    database: Engine
    sessions: SessionMaker
    # Each statement a transaction of its own.
    autocommit_sessions: SessionMaker
    store: ObjectStore
    catalog: Catalog
    notifier: TaskNotifier
    # Of webhooks' tests; what is due otherwise, the io process delivers.
    webhook_client: SafeHttpClient
    rate_limiter: RateLimiter
    # One per database connection. Waiting for a connection in a thread would keep the thread from
    # the request that is about to give one back; with a turn, no thread ever waits for one.
    db_slots: CapacityLimiter
    # An upload holds a thread as long as its client takes; other requests keep theirs.
    upload_slots: CapacityLimiter
    # Checks of a part that hangs hold theirs until they time out.
    probe_slots: CapacityLimiter
    # Receivers that hang hold theirs as long.
    webhook_test_slots: CapacityLimiter


# What the OpenAPI document says of keys; the guard is who looks at them.
PROJECT_KEY_SCHEME = Depends(
    HTTPBearer(
        scheme_name="API key", description="A key of a project, `sk-luthier-…`", auto_error=False
    )
)
ADMIN_KEY_SCHEME = Depends(
    HTTPBearer(
        scheme_name="Admin API key",
        description="A key that manages projects and opens nothing else, `sk-admin-…`",
        auto_error=False,
    )
)


# All are async because FastAPI would run a plain function in a thread, to read an attribute.
async def get_app_state(request: Request) -> AppState:
    parts: AppState = request.app.state.parts
    return parts


async def get_principal(request: Request, _: Annotated[object, PROJECT_KEY_SCHEME]) -> Principal:
    """Whom the guard has found the request's key to speak for. Raises Forbidden for an admin key.

    A route is open to the kind of key that its parameters ask for, and to no other.
    """
    principal = request.scope["principal"]
    if not isinstance(principal, Principal):
        raise Forbidden(
            "An admin API key manages projects and their keys, and nothing else. "
            "Use an API key of a project here."
        )
    return principal


async def get_admin(request: Request, _: Annotated[object, ADMIN_KEY_SCHEME]) -> AdminPrincipal:
    """Which organization the request's key manages. Raises Forbidden for a project's key."""
    admin = request.scope["principal"]
    if not isinstance(admin, AdminPrincipal):
        raise Forbidden(
            "You have insufficient permissions for this operation: it needs an admin API key, "
            "and this is a project's. Make one with `luthier keys create --admin`."
        )
    return admin


async def get_owner_id(request: Request) -> str:
    """The id of the project or the organization that the request's key is of."""
    owner = request.scope["principal"]
    if isinstance(owner, AdminPrincipal):
        return owner.organization_id
    assert isinstance(owner, Principal)
    return owner.project_id


AppStateDep = Annotated[AppState, Depends(get_app_state)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]
AdminDep = Annotated[AdminPrincipal, Depends(get_admin)]
OwnerIdDep = Annotated[str, Depends(get_owner_id)]


async def db_slot(parts: AppStateDep) -> AsyncIterator[None]:
    """The request's turn at the database, for as long as its session lives."""
    async with parts.db_slots:
        yield


# "function": committed before the answer leaves. FastAPI's default scope commits after it has
# left, and a commit that fails then has been answered with a success.
DbSlotDep = Annotated[None, Depends(db_slot, scope="function")]


def get_session(parts: AppStateDep, _turn: DbSlotDep) -> Iterator[Session]:
    """The request's transaction: committed when its endpoint returns, rolled back if it raises."""
    with transaction(parts.sessions) as session:
        yield session


async def get_read_session(parts: AppStateDep, _turn: DbSlotDep) -> AsyncIterator[Session]:
    """A session for an endpoint that writes nothing.

    Async, since with nothing to begin and to commit neither end of it waits for the database.
    """
    with transaction(parts.autocommit_sessions) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
ReadSessionDep = Annotated[Session, Depends(get_read_session, scope="function")]


async def run_in_transaction(parts: AppState, question: Callable[[Session], T]) -> T:
    """One transaction in a thread, for what is asked outside of an endpoint's own session."""
    return await _run_in_slot(parts, parts.sessions, question)


async def run_autocommit(parts: AppState, question: Callable[[Session], T]) -> T:
    """As `ask_database`, each statement a transaction of its own."""
    return await _run_in_slot(parts, parts.autocommit_sessions, question)


async def _run_in_slot(parts: AppState, maker: SessionMaker, question: Callable[[Session], T]) -> T:
    def ask() -> T:
        with transaction(maker) as session:
            return question(session)

    return await to_thread.run_sync(ask, limiter=parts.db_slots)


AfterCursor = Annotated[str | None, Query(description="The last id of the page before")]
# Of lists of the organization, as OpenAI limits them.
AdminPageLimit = Annotated[int, Query(ge=1, le=100)]
