"""Room for one upload: reserved in its project's quota for as long as the request runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from sqlalchemy.orm import Session

from app import logs
from app.db.session import DatabaseUnavailable
from app.files import quota
from app.files.quota import Reservation
from app.http.dependencies import AppState, run_in_transaction

log = logs.get_logger(__name__)


@asynccontextmanager
async def reserve_room(
    state: AppState,
    project_id: str,
    content_length: str | None,
    *,
    max_bytes: int,
    files: int,
) -> AsyncIterator[Reservation]:
    """Reserve room for a request's file while the block runs. Raises StorageQuotaExceeded.

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

    reservation = await run_in_transaction(state, reserve)
    try:
        yield reservation
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
