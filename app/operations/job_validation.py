"""Validation of new jobs: their files by the database's facts, then their rows by an engine.

An engine is asked outside of any transaction, for a few jobs at a time; their jobs are claimed
meanwhile. Whatever keeps it from answering never delays a job by more than seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import BoundedSemaphore

from sqlalchemy.orm import Session

from app import logs
from app.catalog import GENERATIVE_METHODS, Catalog, CatalogModel
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.db.tables import File, Job
from app.inference.rendering_check import TOTAL_TIMEOUT_SECONDS, RenderingCheck, RowsToCheck
from app.jobs import file_checks, lifecycle, validation_errors, validation_queue
from app.jobs.failures import JobFailure
from app.jobs.validation_queue import ValidationQueue
from app.storage import ObjectStore, StorageUnavailable

log = logs.get_logger(__name__)

# Fewer than the threads of an io process, which have other work.
MAX_CONCURRENT_CHECKS = 2
# One file, and time for the transactions and for a store that stalls within a chunk.
CLAIM_SECONDS = TOTAL_TIMEOUT_SECONDS + 20


@dataclass(frozen=True, slots=True)
class _FileToCheck:
    role: str
    key: str


@dataclass(frozen=True, slots=True)
class _ClaimedJob:
    """A job whose files are valid in themselves, and what its rows are rendered with."""

    id: str
    project_id: str
    base: CatalogModel
    max_tokens: int | None
    drops_long_rows: bool
    files: tuple[_FileToCheck, ...]


class JobValidator:
    """Validates new jobs; one per process. Thread-safe."""

    def __init__(
        self, sessions: SessionMaker, store: ObjectStore, catalog: Catalog, check: RenderingCheck
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._catalog = catalog
        self._check = check
        self._queue = ValidationQueue()
        self._slots = BoundedSemaphore(MAX_CONCURRENT_CHECKS)

    def validate_next(self) -> None:
        """Validate the next job, if any waits. Raises DatabaseUnavailable."""
        if not self._slots.acquire(blocking=False):
            # Jobs without rows to render need not wait; the others are taken up by the threads
            # that render now.
            self._validate_one(except_methods=GENERATIVE_METHODS)
            return
        try:
            while self._validate_one():
                pass
        finally:
            self._slots.release()

    def _validate_one(self, *, except_methods: tuple[str, ...] = ()) -> bool:
        """Validate one job; return False if none waits."""
        job_id: str | None = None
        try:
            with transaction(self._sessions) as session:
                job_id = self._queue.lock_next(session, except_methods=except_methods)
                if job_id is None:
                    return False
                claimed = self._claim(session, session.get_one(Job, job_id))
                if claimed is None:
                    lifecycle.validate(session, job_id)
            if claimed is not None:
                self._validate_rows(claimed)
        except DatabaseUnavailable:
            raise
        except Exception:
            if job_id is None:
                raise
            # It must neither be retried forever nor keep the project's other jobs waiting.
            log.exception("job.validation_error", job=job_id)
            with transaction(self._sessions) as session:
                validation_errors.record(session, job_id)
        return True

    def _validate_rows(self, job: _ClaimedJob) -> None:
        failure = self._find_failure(job)
        with transaction(self._sessions) as session:
            lifecycle.validate(session, job.id, failure)

    def _claim(self, session: Session, job: Job) -> _ClaimedJob | None:
        """Claim a job whose rows can be checked; None for any other."""
        base = self._catalog.get(job.base_model)
        if job.method not in GENERATIVE_METHODS or base is None or not self._check.can_check(base):
            return None
        if lifecycle.find_file_failure(session, job) is not None:
            return None
        validation_queue.claim(session, job.id, seconds=CLAIM_SECONDS)
        length = job.hyperparameters.get("max_seq_length")
        return _ClaimedJob(
            id=job.id,
            project_id=job.project_id,
            base=base,
            max_tokens=length if isinstance(length, int) else None,
            drops_long_rows=job.hyperparameters.get("long_rows") == "drop",
            files=tuple(_list_files(session, job)),
        )

    def _find_failure(self, job: _ClaimedJob) -> JobFailure | None:
        for file in job.files:
            self._renew_claim(job)
            try:
                chunks = self._store.chunks(file.key)
                rows = RowsToCheck(
                    job.project_id, job.base, job.max_tokens, chunks, job.drops_long_rows
                )
                problem = self._check.find_problem(rows)
            except (FileNotFoundError, StorageUnavailable) as error:
                log.warning("job.rows_not_checked", job=job.id, reason=str(error))
                return None
            if problem is not None:
                return file_checks.build_invalid_file_failure(file.role, problem)
        return None

    def _renew_claim(self, job: _ClaimedJob) -> None:
        """Claim the job for the time that one file takes."""
        with transaction(self._sessions) as session:
            validation_queue.claim(session, job.id, seconds=CLAIM_SECONDS)


def _list_files(session: Session, job: Job) -> Iterator[_FileToCheck]:
    ids = {"training": job.training_file_id, "validation": job.validation_file_id}
    for role, file_id in ids.items():
        if file_id is not None:
            yield _FileToCheck(role, session.get_one(File, file_id).storage_key)
