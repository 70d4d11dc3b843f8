"""Garbage collection of stored objects without an owner, left by killed attempts and uploads.

Ownership is read from the database alone. An upload's object exists before its row does, so an
object is deleted only when two runs in a row find it unowned. Objects of projects that this
database does not know are kept: they may belong to another Luthier that shares the bucket.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from sqlalchemy import Select, select

from app import logs
from app.db.deletion_hold import permit_deletions
from app.db.session import SessionMaker, transaction
from app.db.tables import (
    Checkpoint,
    File,
    FineTunedModel,
    Job,
    JobAttempt,
    ModelExport,
    Project,
    UploadPart,
    WorkRange,
)
from app.storage import ObjectStore, attempt_prefix

log = logs.get_logger(__name__)

BATCH_SIZE = 500
# All objects of Luthier are under this prefix.
PROJECTS_PREFIX = "projects/"


class OrphanCollector:
    """Garbage collector. Call `collect` at most once an hour: no upload may take longer."""

    def __init__(self, sessions: SessionMaker, store: ObjectStore) -> None:
        self._sessions = sessions
        self._store = store
        self._suspects: set[str] = set()

    def collect(self) -> int:
        """Delete the objects that were unowned in the previous run too; return their number.

        Deletes nothing while a backup holds the objects. Raises StorageUnavailable or
        DatabaseUnavailable.
        """
        unowned = set(self._find_unowned())
        orphans = unowned & self._suspects
        with permit_deletions(self._sessions) as may_delete:
            if not may_delete:
                return 0
            for key in sorted(orphans):
                log.info("orphan.deleted", key=key)
                self._store.delete(key)
        self._suspects = unowned - orphans
        return len(orphans)

    def _find_unowned(self) -> Iterator[str]:
        keys = self._store.list(PROJECTS_PREFIX)
        while batch := list(islice(keys, BATCH_SIZE)):
            yield from set(batch) - self._filter_owned(batch)

    def _filter_owned(self, keys: Sequence[str]) -> set[str]:
        folders = {key: key.rpartition("/")[0] for key in keys}
        with transaction(self._sessions) as session:
            projects = set(session.scalars(_select_projects(keys)))
            files = {
                *session.scalars(_select_files(keys)),
                *session.scalars(_select_parts(keys)),
                *session.scalars(_select_exports(keys)),
                *session.scalars(_select_parts_of_work(keys)),
            }
            kept = {
                *session.scalars(_select_checkpoints(folders)),
                *session.scalars(_select_models(folders)),
            }
            in_flight = tuple(
                f"{attempt_prefix(project, job, attempt)}/"
                for project, job, attempt in session.execute(_select_open_attempts())
            )
        return {
            key
            for key, folder in folders.items()
            if _parse_project_id(key) not in projects
            or key in files
            or folder in kept
            or key.startswith(in_flight)
        }


def _parse_project_id(key: str) -> str:
    return key.removeprefix(PROJECTS_PREFIX).partition("/")[0]


def _select_projects(keys: Sequence[str]) -> Select[str]:
    return select(Project.id).where(Project.id.in_({_parse_project_id(key) for key in keys}))


def _select_files(keys: Sequence[str]) -> Select[str]:
    return select(File.storage_key).where(File.storage_key.in_(keys), File.deleted_at.is_(None))


def _select_parts(keys: Sequence[str]) -> Select[str]:
    return select(UploadPart.storage_key).where(UploadPart.storage_key.in_(keys))


def _select_exports(keys: Sequence[str]) -> Select[str | None]:
    key = ModelExport.storage_key
    return select(key).where(key.in_(keys))


def _select_parts_of_work(keys: Sequence[str]) -> Select[str | None]:
    key = WorkRange.storage_key
    return select(key).where(key.in_(keys))


def _select_checkpoints(folders: dict[str, str]) -> Select[str]:
    prefix = Checkpoint.storage_prefix
    return select(prefix).where(prefix.in_(folders.values()), Checkpoint.deleted_at.is_(None))


def _select_models(folders: dict[str, str]) -> Select[str]:
    prefix = FineTunedModel.storage_prefix
    return select(prefix).where(prefix.in_(folders.values()), FineTunedModel.deleted_at.is_(None))


def _select_open_attempts() -> Select[str, str, int]:
    # Uploads of these attempts may still be in flight.
    return (
        select(Job.project_id, Job.id, JobAttempt.attempt)
        .join(JobAttempt, JobAttempt.job_id == Job.id)
        .where(JobAttempt.ended_at.is_(None))
    )
