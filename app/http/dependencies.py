"""FastAPI dependencies of endpoints: application state, database session, principal, project."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.auth import projects
from app.auth.principals import AdminPrincipal, Principal
from app.broker import TaskNotifier
from app.catalog import Catalog
from app.cpu_pool.pool import CpuPool
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from app.errors import Forbidden
from app.http.fair_limiter import FairLimiter
from app.http.rate_limits import RateLimiter
from app.safe_http.client import SafeHttpClient
from app.security_log import SecurityLog
from app.settings import Settings
from app.storage import ObjectStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AppState:
    """Shared clients and limits of the process, built once in `app.main`."""

    settings: Settings
    database: Engine
    sessions: SessionMaker
    # Autocommit: each statement is its own transaction.
    autocommit_sessions: SessionMaker
    store: ObjectStore
    catalog: Catalog
    notifier: TaskNotifier
    # For test deliveries; the worker's io process sends all others.
    webhook_client: SafeHttpClient
    rate_limiter: RateLimiter
    security_log: SecurityLog
    # For work that would hold the interpreter lock, and with it all other requests.
    cpu_pool: CpuPool
    # One per database connection. Threads that wait for a connection could use up the thread pool,
    # and with it the threads of the requests that would return one (deadlock).
    db_slots: FairLimiter
    # Uploads in progress: each takes memory for as long as its client sends.
    upload_slots: FairLimiter
    # Streams of changes that clients listen to.
    listener_slots: FairLimiter
    # Threads that read from the store and write to it, a block at a time.
    transfer_threads: FairLimiter
    # Threads that parse long JSON bodies.
    json_threads: FairLimiter
    # Separate, since a health check of a hanging service occupies a thread until it times out.
    probe_slots: CapacityLimiter
    # Separate, since a hanging webhook receiver also occupies a thread until it times out.
    webhook_test_slots: FairLimiter
    # Requests that wait for an export, by project.
    waiting_exports: Counter[str] = field(default_factory=Counter)


# For the OpenAPI document only; the admission middleware checks the keys.
PROJECT_KEY_SCHEME = Depends(
    HTTPBearer(
        scheme_name="API key", description="API key of a project, `sk-luthier-…`", auto_error=False
    )
)
ADMIN_KEY_SCHEME = Depends(
    HTTPBearer(
        scheme_name="Admin API key",
        description="Admin key: manages projects and their keys, nothing else, `sk-admin-…`",
        auto_error=False,
    )
)


# Async because FastAPI runs plain functions in a thread, which is too slow to read an attribute.
async def get_app_state(request: Request) -> AppState:
    state: AppState = request.app.state.shared
    return state


async def get_principal(request: Request, _: Annotated[object, PROJECT_KEY_SCHEME]) -> Principal:
    """The project that the request acts for. Raises Forbidden for an admin key.

    A route accepts only the kind of key that it declares with PrincipalDep or AdminDep.
    """
    principal = request.scope["principal"]
    if not isinstance(principal, Principal):
        raise Forbidden(
            "An admin API key manages projects and their keys, and nothing else. "
            "Use a project's API key here."
        )
    return principal


async def get_admin(request: Request, _: Annotated[object, ADMIN_KEY_SCHEME]) -> AdminPrincipal:
    """The organization that the request manages. Raises Forbidden for a project's API key."""
    admin = request.scope["principal"]
    if not isinstance(admin, AdminPrincipal):
        raise Forbidden(
            "You have insufficient permissions for this operation. It requires an admin API key, "
            "and this is a project's. Create one with `luthier keys create --admin`."
        )
    return admin


async def get_owner_id(request: Request) -> str:
    """The id of the project, or of the organization if the request has an admin key."""
    principal = request.scope["principal"]
    if isinstance(principal, AdminPrincipal):
        return principal.organization_id
    assert isinstance(principal, Principal)
    return principal.project_id


AppStateDep = Annotated[AppState, Depends(get_app_state)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]
AdminDep = Annotated[AdminPrincipal, Depends(get_admin)]
OwnerIdDep = Annotated[str, Depends(get_owner_id)]


async def db_slot(state: AppStateDep) -> AsyncIterator[None]:
    """Hold one of the database slots for as long as the request's session lives."""
    async with state.db_slots.slot():
        yield


# scope="function" commits before the response is sent. FastAPI's default scope would commit after
# it, and the client of a failed commit would have seen a success.
DbSlotDep = Annotated[None, Depends(db_slot, scope="function")]


def get_session(state: AppStateDep, _slot: DbSlotDep) -> Iterator[Session]:
    """The request's transaction: committed when its endpoint returns, rolled back if it raises."""
    with transaction(state.sessions) as session:
        yield session


async def get_read_session(state: AppStateDep, _slot: DbSlotDep) -> AsyncIterator[Session]:
    """An autocommit session, for endpoints that write nothing.

    Async: without BEGIN and COMMIT, neither opening nor closing it waits for the database.
    """
    with transaction(state.autocommit_sessions) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
ReadSessionDep = Annotated[Session, Depends(get_read_session, scope="function")]


def get_project(project_id: str, admin: AdminDep, session: SessionDep) -> Project:
    """The project in the path, of the admin's organization, locked against archiving.

    Raises NotFound, or InvalidRequest if it is archived.
    """
    return projects.get_active(session, admin.organization_id, project_id)


def get_project_or_archived(project_id: str, admin: AdminDep, session: SessionDep) -> Project:
    """The project in the path, of the admin's organization, archived or not. Raises NotFound."""
    return projects.get(session, admin.organization_id, project_id)


ProjectDep = Annotated[Project, Depends(get_project)]
ProjectOrArchivedDep = Annotated[Project, Depends(get_project_or_archived)]


async def run_in_transaction(state: AppState, work: Callable[[Session], T]) -> T:
    """Run one transaction in a thread, for async code without a session of its own."""
    return await _run_in_slot(state, state.sessions, work)


async def run_autocommit(state: AppState, work: Callable[[Session], T]) -> T:
    """As `run_in_transaction`, but each statement is its own transaction."""
    return await _run_in_slot(state, state.autocommit_sessions, work)


async def _run_in_slot(state: AppState, maker: SessionMaker, work: Callable[[Session], T]) -> T:
    def run() -> T:
        with transaction(maker) as session:
            return work(session)

    return await state.db_slots.run(run)


AfterCursor = Annotated[str | None, Query(description="The last id of the previous page")]
# Page size of the admin API's lists, with OpenAI's bounds.
AdminPageLimit = Annotated[int, Query(ge=1, le=100)]
