"""Objects in the store that belong to nothing: what killed and outlived attempts and uploads left.

A key is judged by the database alone. An upload's object is there before its row, so an object is
removed only by the second round in a row that finds it without an owner. What lies in a project
that this database does not know may be another Luthier's in the same bucket, and stays.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from sqlalchemy import Select, select

from app import logs
from app.db.session import SessionMaker, transaction
from app.db.tables import Checkpoint, File, Job, JobAttempt, Project, TunedModel, UploadPart
from app.storage import BlobStore, attempt_prefix

log = logs.get(__name__)

BATCH = 500
# All that Luthier stores lies below it.
PROJECTS = "projects/"


class Orphans:
    """Call `sweep` once an hour or less often: no upload of one object may take longer."""

    def __init__(self, sessions: SessionMaker, store: BlobStore) -> None:
        self._sessions = sessions
        self._store = store
        self._suspects: set[str] = set()

    def sweep(self) -> int:
        """Remove what had no owner the last time either; the number of objects removed.

        Raises StorageUnavailable, DatabaseUnavailable.
        """
        found = set(self._without_owner())
        stray = found & self._suspects
        for key in sorted(stray):
            log.info("orphan.removed", key=key)
            self._store.delete(key)
        self._suspects = found - stray
        return len(stray)

    def _without_owner(self) -> Iterator[str]:
        keys = self._store.list(PROJECTS)
        while batch := list(islice(keys, BATCH)):
            yield from set(batch) - self._owned(batch)

    def _owned(self, keys: Sequence[str]) -> set[str]:
        folders = {key: key.rpartition("/")[0] for key in keys}
        with transaction(self._sessions) as session:
            ours = set(session.scalars(_projects(keys)))
            files = {*session.scalars(_files(keys)), *session.scalars(_parts(keys))}
            kept = {*session.scalars(_checkpoints(folders)), *session.scalars(_models(folders))}
            working = tuple(
                f"{attempt_prefix(project, job, epoch)}/"
                for project, job, epoch in session.execute(_open_attempts())
            )
        return {
            key
            for key, folder in folders.items()
            if _project_of(key) not in ours
            or key in files
            or folder in kept
            or key.startswith(working)
        }


def _project_of(key: str) -> str:
    return key.removeprefix(PROJECTS).partition("/")[0]


def _projects(keys: Sequence[str]) -> Select[str]:
    return select(Project.id).where(Project.id.in_({_project_of(key) for key in keys}))


def _files(keys: Sequence[str]) -> Select[str]:
    return select(File.storage_key).where(File.storage_key.in_(keys), File.deleted_at.is_(None))


def _parts(keys: Sequence[str]) -> Select[str]:
    return select(UploadPart.storage_key).where(UploadPart.storage_key.in_(keys))


def _checkpoints(folders: dict[str, str]) -> Select[str]:
    prefix = Checkpoint.storage_prefix
    return select(prefix).where(prefix.in_(folders.values()), Checkpoint.deleted_at.is_(None))


def _models(folders: dict[str, str]) -> Select[str]:
    prefix = TunedModel.storage_prefix
    return select(prefix).where(prefix.in_(folders.values()), TunedModel.deleted_at.is_(None))


def _open_attempts() -> Select[str, str, int]:
    # The last one's uploads may still be on their way.
    return (
        select(Job.project_id, Job.id, JobAttempt.epoch)
        .join(JobAttempt, JobAttempt.job_id == Job.id)
        .where(JobAttempt.ended_at.is_(None))
    )
