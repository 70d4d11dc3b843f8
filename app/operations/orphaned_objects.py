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
from app.db.tables import Checkpoint, File, FineTunedModel, Job, JobAttempt, Project, UploadPart
from app.storage import ObjectStore, attempt_prefix

log = logs.get_logger(__name__)

BATCH_SIZE = 500
# All that Luthier stores lies below it.
PROJECTS_PREFIX = "projects/"


class OrphanCollector:
    """Call `sweep` once an hour or less often: no upload of one object may take longer."""

    def __init__(self, sessions: SessionMaker, store: ObjectStore) -> None:
        self._sessions = sessions
        self._store = store
        self._suspects: set[str] = set()

    def collect(self) -> int:
        """Remove what had no owner the last time either; the number of objects removed.

        Raises StorageUnavailable, DatabaseUnavailable.
        """
        found = set(self._find_unowned())
        stray = found & self._suspects
        for key in sorted(stray):
            log.info("orphan.removed", key=key)
            self._store.delete(key)
        self._suspects = found - stray
        return len(stray)

    def _find_unowned(self) -> Iterator[str]:
        keys = self._store.list(PROJECTS_PREFIX)
        while batch := list(islice(keys, BATCH_SIZE)):
            yield from set(batch) - self._filter_owned(batch)

    def _filter_owned(self, keys: Sequence[str]) -> set[str]:
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
            if _project_id_of(key) not in ours
            or key in files
            or folder in kept
            or key.startswith(working)
        }


def _project_id_of(key: str) -> str:
    return key.removeprefix(PROJECTS_PREFIX).partition("/")[0]


def _projects(keys: Sequence[str]) -> Select[str]:
    return select(Project.id).where(Project.id.in_({_project_id_of(key) for key in keys}))


def _files(keys: Sequence[str]) -> Select[str]:
    return select(File.storage_key).where(File.storage_key.in_(keys), File.deleted_at.is_(None))


def _parts(keys: Sequence[str]) -> Select[str]:
    return select(UploadPart.storage_key).where(UploadPart.storage_key.in_(keys))


def _checkpoints(folders: dict[str, str]) -> Select[str]:
    prefix = Checkpoint.storage_prefix
    return select(prefix).where(prefix.in_(folders.values()), Checkpoint.deleted_at.is_(None))


def _models(folders: dict[str, str]) -> Select[str]:
    prefix = FineTunedModel.storage_prefix
    return select(prefix).where(prefix.in_(folders.values()), FineTunedModel.deleted_at.is_(None))


def _open_attempts() -> Select[str, str, int]:
    # The last one's uploads may still be on their way.
    return (
        select(Job.project_id, Job.id, JobAttempt.epoch)
        .join(JobAttempt, JobAttempt.job_id == Job.id)
        .where(JobAttempt.ended_at.is_(None))
    )
