"""Stored archives: a cache that the operator pays for, which makes room for newer ones.

They are no part of a project's storage quota: they can be made again at any time, a project cannot
delete them, and a full quota would keep it from taking its own models away. They are bounded
instead: a few per project, of so many bytes; and where the disk is short, those of any project that
were used longest ago give way.
"""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import clock, outbox
from app.db.tables import ExportState, ModelExport
from app.exports import service

MAX_STORED_PER_PROJECT = 4
# One that was used more recently is probably being downloaded, and gives way to no other project.
IN_USE_SECONDS = 600


def delete_beyond_limits(session: Session, newest: ModelExport, max_bytes: int) -> None:
    """Delete the project's archives used longest ago, beyond its number and bytes, but `newest`."""
    others = session.scalars(
        select(ModelExport)
        .where(
            ModelExport.project_id == newest.project_id,
            ModelExport.state == ExportState.READY,
            ModelExport.id != newest.id,
        )
        .order_by(ModelExport.wanted_at.desc())
        .with_for_update(skip_locked=True)
    ).all()
    total = newest.bytes or 0
    for count, row in enumerate(others, start=1):
        total += row.bytes or 0
        if count >= MAX_STORED_PER_PROJECT or 0 < max_bytes < total:
            service.delete(session, row)


def make_room(session: Session, missing_bytes: int) -> bool:
    """Delete the archives used longest ago; none, and return False, if all are not enough."""
    unused: list[ModelExport] = []
    freed = 0
    for row in _list_unused(session):
        unused.append(row)
        freed += row.bytes or 0
        if freed >= missing_bytes:
            break
    if freed < missing_bytes:
        return False
    for row in unused:
        service.delete(session, row)
    return True


def enqueue_deletion(session: Session, key: str) -> None:
    """Enqueue the deletion of an archive that was stored for an export that is gone."""
    outbox.enqueue_blob_deletion(session, key)


def _list_unused(session: Session) -> Iterable[ModelExport]:
    return session.scalars(
        select(ModelExport)
        .where(
            ModelExport.state == ExportState.READY,
            ModelExport.wanted_at < clock.seconds_from_now(-IN_USE_SECONDS),
        )
        .order_by(ModelExport.wanted_at)
        .limit(100)
        .with_for_update(skip_locked=True)
    ).all()
