"""Checkpoints on their way into the store, beside the training that goes on."""

import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.jobs import checkpoints
from app.jobs.checkpoints import StoredCheckpoint
from app.jobs.leases import JobAssignment
from app.jobs.states import LeaseLost
from app.storage import AlreadyExists, ObjectStore, StorageUnavailable, checkpoint_prefix, join_key
from worker.rundir import MANIFEST_FILE, CheckpointWritten, RunFolder, file_sha256, read_manifest

log = logs.get_logger(__name__)

MIN_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0


class CheckpointUploader:
    """Stores checkpoints one after another; what fails is tried until the `with` block ends.

    Where the store is slower than training, the newest wins.
    """

    def __init__(
        self, claim: JobAssignment, folder: RunFolder, sessions: SessionMaker, store: ObjectStore
    ) -> None:
        self._assignment = claim
        self._folder = folder
        self._sessions = sessions
        self._store = store
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"uploads-{claim.job_id}")
        self._started: list[tuple[CheckpointWritten, Future[None]]] = []
        self._stored: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)

    def enqueue(self, written: CheckpointWritten) -> None:
        for earlier, upload in self._started:
            # What only a resumed training would read is not worth a place in the queue any more.
            if not earlier.servable and upload.cancel():
                shutil.rmtree(self._folder.checkpoint(earlier.step))
        self._started.append((written, self._thread.submit(self._store_with_retry, written)))

    @property
    def is_done(self) -> bool:
        """All that was added is stored. Raises what an upload ended with, Fenced for one."""
        self._started = [started for started in self._started if not _is_finished(started[1])]
        return not self._started

    def _store_with_retry(self, written: CheckpointWritten) -> None:
        wait = MIN_BACKOFF_SECONDS
        while not self._closed.is_set():
            try:
                self._store_checkpoint(written)
            except (StorageUnavailable, DatabaseUnavailable) as error:
                log.warning("upload.failed", job=self._assignment.job_id, reason=str(error))
                self._closed.wait(wait)
                wait = min(2 * wait, MAX_BACKOFF_SECONDS)
            else:
                return

    def _store_checkpoint(self, written: CheckpointWritten) -> None:
        """Files first, then their manifest, then the row: readers believe the row only."""
        claim = self._assignment
        prefix = checkpoint_prefix(claim.project_id, claim.job_id, claim.attempt, written.step)
        place = self._folder.checkpoint(written.step)
        manifest = (place / MANIFEST_FILE).read_bytes()
        listed = read_manifest(manifest)
        for name in listed:
            self._store.upload(place / name, join_key(prefix, name))
        self._put_manifest(join_key(prefix, MANIFEST_FILE), manifest)
        stored = StoredCheckpoint(
            step=written.step,
            servable=written.servable,
            prefix=prefix,
            manifest_sha256=file_sha256(place / MANIFEST_FILE),
            bytes=sum(file.bytes for file in listed.values()),
            metrics=written.values,
        )
        with transaction(self._sessions) as session:
            checkpoints.record(session, claim.job_id, claim.attempt, stored)
        self._delete_previous(place)

    def _delete_previous(self, place: Path) -> None:
        # Training reads a checkpoint only when it starts, and then it comes from the store.
        if self._stored is not None and self._stored != place:
            shutil.rmtree(self._stored)
        self._stored = place

    def _put_manifest(self, key: str, manifest: bytes) -> None:
        try:
            self._store.put(key, manifest, if_absent=True)
        except AlreadyExists:
            # This attempt's own, from a try whose answer was lost; or, if the attempt's number was
            # somehow given twice, another's.
            if self._store.get(key) != manifest:
                raise LeaseLost(f"{key} is another attempt's") from None


def _is_finished(upload: Future[None]) -> bool:
    if upload.done() and not upload.cancelled():
        upload.result()
    return upload.done()
