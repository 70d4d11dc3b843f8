"""What endpoints are given: the parts of the service, a session, and whom the request acts for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.engines import Engines
from app.queue import Bells
from app.services.keys import Principal
from app.settings import Settings
from app.storage import BlobStore


@dataclass(frozen=True, slots=True)
class Parts:
    """All that requests work with, joined once in `app.main`."""

    settings: Settings
    database: Engine
    sessions: SessionMaker
    store: BlobStore
    catalog: Catalog
    engines: Engines
    bells: Bells
    # An upload holds a thread as long as its client takes; other requests keep theirs.
    uploads: CapacityLimiter
    # Checks of a part that hangs hold theirs until they time out.
    probes: CapacityLimiter


def get_parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


def get_principal(request: Request) -> Principal:
    """Whom the guard has found the request's key to speak for."""
    principal: Principal = request.scope["principal"]
    return principal


PartsDep = Annotated[Parts, Depends(get_parts)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]


def get_session(parts: PartsDep) -> Iterator[Session]:
    """The request's transaction: committed when its endpoint returns, rolled back if it raises."""
    with transaction(parts.sessions) as session:
        yield session


# "function": committed before the answer leaves. FastAPI's default scope commits after it has
# left, and a commit that fails then has been answered with a success.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]

After = Annotated[str | None, Query(description="The last id of the page before")]
