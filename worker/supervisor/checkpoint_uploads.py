"""Uploads of checkpoints to object storage while training continues."""

import hashlib
import shutil
import threading
from concurrent import futures
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
from app.manifests import MANIFEST_FILE, read_manifest
from app.storage import AlreadyExists, ObjectStore, StorageUnavailable, checkpoint_prefix, join_key
from worker.run_folder import CheckpointWritten, RunFolder

log = logs.get_logger(__name__)

MIN_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0


class CheckpointUploader:
    """Uploads checkpoints one after another, retrying with backoff until the `with` block ends.

    If storage is slower than training, superseded checkpoints are skipped unless servable.
    """

    def __init__(
        self,
        assignment: JobAssignment,
        folder: RunFolder,
        sessions: SessionMaker,
        store: ObjectStore,
    ) -> None:
        self._assignment = assignment
        self._folder = folder
        self._sessions = sessions
        self._store = store
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"uploads-{assignment.job_id}")
        self._queue: list[tuple[CheckpointWritten, Future[None]]] = []
        self._uploaded: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)

    def enqueue(self, written: CheckpointWritten) -> None:
        for earlier, upload in self._queue:
            # A superseded checkpoint is only useful if it is servable.
            if not earlier.servable and upload.cancel():
                shutil.rmtree(self._folder.checkpoint(earlier.step))
        self._queue.append((written, self._thread.submit(self._store_with_retry, written)))

    @property
    def is_done(self) -> bool:
        """True if all uploads are stored. Raises the error of a failed one, e.g. LeaseLost."""
        self._queue = [entry for entry in self._queue if not _is_finished(entry[1])]
        return not self._queue

    def wait(self, seconds: float) -> None:
        """Return when all uploads have ended, or after so many seconds."""
        futures.wait([upload for _, upload in self._queue], seconds)

    def _store_with_retry(self, written: CheckpointWritten) -> None:
        backoff = MIN_BACKOFF_SECONDS
        while not self._closed.is_set():
            try:
                self._store_checkpoint(written)
            except (StorageUnavailable, DatabaseUnavailable) as error:
                log.warning("upload.failed", job=self._assignment.job_id, reason=str(error))
                self._closed.wait(backoff)
                backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            else:
                return

    def _store_checkpoint(self, written: CheckpointWritten) -> None:
        """Store the files, then their manifest, then the row; readers rely on the row only."""
        assignment = self._assignment
        prefix = checkpoint_prefix(
            assignment.project_id, assignment.job_id, assignment.attempt, written.step
        )
        folder = self._folder.checkpoint(written.step)
        with self._folder.open_checkpoint_file(written.step, MANIFEST_FILE) as path:
            manifest = path.read_bytes()
        entries = read_manifest(manifest)
        for name in entries:
            with self._folder.open_checkpoint_file(written.step, name) as path:
                self._store.upload(path, join_key(prefix, name))
        self._put_manifest(join_key(prefix, MANIFEST_FILE), manifest)
        stored = StoredCheckpoint(
            step=written.step,
            servable=written.servable,
            prefix=prefix,
            manifest_sha256=hashlib.sha256(manifest).hexdigest(),
            bytes=sum(file.bytes for file in entries.values()),
            metrics=written.values,
        )
        with transaction(self._sessions) as session:
            checkpoints.record(session, assignment.job_id, assignment.attempt, stored)
        self._delete_previous(folder)

    def _delete_previous(self, folder: Path) -> None:
        # Training reads a checkpoint only at its start, from object storage.
        if self._uploaded is not None and self._uploaded != folder:
            shutil.rmtree(self._uploaded)
        self._uploaded = folder

    def _put_manifest(self, key: str, manifest: bytes) -> None:
        try:
            self._store.put(key, manifest, if_absent=True)
        except AlreadyExists:
            # This attempt's own manifest, if the response to the upload was lost; or another
            # attempt's, if an attempt number was somehow assigned twice.
            if self._store.get(key) != manifest:
                raise LeaseLost(f"{key} belongs to another attempt") from None


def _is_finished(upload: Future[None]) -> bool:
    if upload.done() and not upload.cancelled():
        upload.result()
    return upload.done()
