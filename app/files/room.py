"""Room for one upload: in its project's quota, for as long as the request runs, and on the disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from sqlalchemy.orm import Session

from app import logs
from app.db.session import DatabaseUnavailable
from app.errors import InsufficientStorage
from app.files import quota
from app.files.quota import Reservation
from app.http.dependencies import AppState, run_in_transaction
from app.settings import Settings
from app.storage import ObjectStore

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """Room for one upload: its reservation, and the disk that it is written to."""

    reservation: Reservation
    state: AppState

    def check(self, size: int) -> None:
        """Raise StorageQuotaExceeded or InsufficientStorage unless `size` bytes fit."""
        self.reservation.check(size)
        check_disk(self.state.settings, self.state.store)

    def release(self, session: Session) -> None:
        """Release the reservation, in the transaction that adds what it was for."""
        quota.release(session, self.reservation)


def check_disk(settings: Settings, store: ObjectStore, size: int = 0) -> None:
    """Raise InsufficientStorage if `size` more bytes would touch the reserve of the disk."""
    free = store.free_bytes() if settings.disk_reserve_bytes else None
    if free is not None and free - size < settings.disk_reserve_bytes:
        raise InsufficientStorage


@asynccontextmanager
async def reserve_room(
    state: AppState,
    project_id: str,
    content_length: str | None,
    *,
    max_bytes: int,
    files: int,
) -> AsyncIterator[Room]:
    """Reserve room for a request's file while the block runs. Raises StorageQuotaExceeded,
    or InsufficientStorage if the disk is nearly full.

    `content_length` is the request's header, if it has one.
    The block's own transaction should release the reservation together with adding the file; if the
    block raises, it is released here.
    """
    declared = _parse_length(content_length or "")
    is_declared = declared is not None
    size = max_bytes if declared is None else min(declared, max_bytes)

    def reserve(session: Session) -> Reservation:
        return quota.reserve(
            session, project_id, state.settings, size=size, files=files, is_declared=is_declared
        )

    check_disk(state.settings, state.store, size if is_declared else 0)
    reservation = await run_in_transaction(state, reserve)
    try:
        yield Room(reservation, state)
    except BaseException:
        # Shielded: a client that disconnects cancels the request.
        with anyio.CancelScope(shield=True):
            await _release(state, reservation)
        raise


async def _release(state: AppState, reservation: Reservation) -> None:
    try:
        await run_in_transaction(state, lambda session: quota.release(session, reservation))
    except DatabaseUnavailable as error:
        # It expires by itself.
        log.warning("quota.release_failed", reason=str(error))


def _parse_length(length: str) -> int | None:
    return int(length) if length.isascii() and length.isdigit() else None
