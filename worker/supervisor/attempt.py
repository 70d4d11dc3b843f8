"""One attempt at one job, from its claim to whatever ends it."""

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from app import ids, logs
from app.catalog import Catalog
from app.db.session import DatabaseUnavailable, SessionMaker, Work, persistently, transaction
from app.jobs import progress, result_file, success
from app.jobs.events import Entry
from app.jobs.leases import Claim, Order
from app.jobs.states import Fenced
from app.jobs.success import NoFinalCheckpoint, ResultFile
from app.settings import Settings
from app.storage import BlobStore, StorageUnavailable, file_key
from worker.rundir import EVALUATION, Exit
from worker.supervisor import exit_handling, run_dirs
from worker.supervisor.checkpoint_uploads import Uploads
from worker.supervisor.event_relay import Journal
from worker.supervisor.heartbeat import Pulse
from worker.supervisor.stall_watchdog import Watch
from worker.supervisor.training_process import COMMAND, TrainingProcess
from worker.supervisor.wandb_runs import Integrations

log = logs.get(__name__)

TICK_SECONDS = 0.2
# To write a checkpoint when asked to stop; then it is killed.
GRACE_SECONDS = 20.0
# From the request to stop to the last try to bring in what there is.
LEAVING_SECONDS = 27.0
STORE_RETRY_SECONDS = 5.0
# To write the stacks of all threads.
DUMP_SECONDS = 5.0
HUNG = "Training made no progress any more and was ended."


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a trainer works with. `stopping` is set when its process is to end."""

    settings: Settings
    sessions: SessionMaker
    store: BlobStore
    catalog: Catalog
    stopping: Event
    command: Sequence[str] = COMMAND


class Attempt:
    """Decides nothing of what the job becomes: it tells the services, and they know the epoch."""

    def __init__(self, machine: Machine, claim: Claim) -> None:
        self._machine = machine
        self._claim = claim
        self._folder = run_dirs.place(machine.settings, claim)
        self._pulse = Pulse(claim, machine.sessions, machine.settings)
        self._leave_at: float | None = None

    def run(self) -> None:
        """Train until the job or this attempt at it has ended, and leave nothing behind."""
        try:
            with self._pulse:
                self._run()
        except Fenced as error:
            log.info("attempt.fenced", job=self._claim.job_id, reason=str(error))
        except DatabaseUnavailable as error:
            # The lease runs out, and the reconciler gives the job to the next.
            log.warning("attempt.left", job=self._claim.job_id, reason=str(error))
        finally:
            shutil.rmtree(self._folder.path, ignore_errors=True)

    def _run(self) -> None:
        claim = self._claim
        try:
            self._tell(self._attempt())
        except (Fenced, DatabaseUnavailable):
            raise
        except run_dirs.Unusable as error:
            self._tell(exit_handling.failed(claim, error.problem))
        except StorageUnavailable as error:
            log.warning("attempt.postponed", job=claim.job_id, reason=str(error))
            self._tell(exit_handling.postponed(claim, "The storage could not be used."))
        except Exception as error:
            # Whatever it is must not take the trainer with it, and must not be tried for ever.
            log.exception("attempt.broken", job=claim.job_id)
            self._tell(exit_handling.broken(claim, error))

    def _attempt(self) -> Work:
        """Prepare, train, store; what to tell of it."""
        machine, claim, folder = self._machine, self._claim, self._folder
        run_dirs.fill(
            folder, claim, settings=machine.settings, store=machine.store, catalog=machine.catalog
        )
        if self._is_to_stop():
            return exit_handling.yielded(claim)
        with Uploads(claim, folder, machine.sessions, machine.store) as uploads:
            journal = Journal(claim, folder, machine.sessions, uploads)
            with (
                Integrations(claim, folder, machine.settings, self._note) as integrations,
                TrainingProcess(folder, machine.command) as process,
            ):
                code = self._supervise(process, journal, uploads, integrations)
                integrations.finish()
            log.info("training.ended", job=claim.job_id, epoch=claim.epoch, exit_code=code)
            if code == Exit.DONE:
                return self._finish(journal, uploads)
            # What it stored before its end is kept, or the end would count as no progress.
            self._drain(journal, uploads)
            if code != Exit.YIELDED:
                run_dirs.keep_log(folder, machine.settings)
            if process.was_aborted:
                return exit_handling.crashed(claim, HUNG, exit_code=code)
            stopped = process.was_stopped
            return exit_handling.after(code, claim, failed=journal.failed, was_stopped=stopped)

    def _supervise(
        self,
        process: TrainingProcess,
        journal: Journal,
        uploads: Uploads,
        integrations: Integrations,
    ) -> int:
        watch = Watch(self._folder, patience_seconds=self._machine.settings.hang_seconds)
        while (code := process.poll()) is None:
            if self._is_to_stop():
                process.stop(grace_seconds=GRACE_SECONDS)
            if watch.is_in_vain():
                process.abort(grace_seconds=DUMP_SECONDS)
            journal.relay()
            integrations.look()
            self._pulse.step = journal.step
            # Raises what an upload came to; if it is Fenced there is no use in training on.
            _ = uploads.are_done
            time.sleep(TICK_SECONDS)
        return code

    def _finish(self, journal: Journal, uploads: Uploads) -> Work:
        claim = self._claim
        self._tell(lambda session: success.finalize(session, claim.job_id, claim.epoch))
        if not self._drain(journal, uploads):
            return exit_handling.yielded(claim)
        if journal.started is None:
            raise NoFinalCheckpoint("Training ended before it began")
        tokens = journal.started.trained_tokens
        return exit_handling.done(
            claim,
            trained_tokens=tokens,
            result=self._store_results(),
            evaluation=self._store_evaluation(),
        )

    def _drain(self, journal: Journal, uploads: Uploads) -> bool:
        """Wait until all that training wrote is brought in; False if there is no more time."""
        while not (journal.relay(at_once=True) and uploads.are_done):
            if self._is_late():
                return False
            time.sleep(TICK_SECONDS)
        return True

    def _store_results(self) -> ResultFile:
        claim, sessions = self._claim, self._machine.sessions
        csv = persistently(
            sessions,
            lambda session: result_file.step_metrics(session, claim.job_id),
            give_up=self._is_late,
        )
        return self._stored("step_metrics.csv", csv)

    def _store_evaluation(self) -> ResultFile | None:
        """What the method measured of itself, if it did: it lies in the newest checkpoint."""
        for step in self._folder.steps()[:1]:
            path = self._folder.checkpoint(step) / EVALUATION
            if path.exists():
                return self._stored(EVALUATION, path.read_bytes())
        return None

    def _stored(self, filename: str, data: bytes) -> ResultFile:
        file_id = ids.file_id()
        key = file_key(self._claim.project_id, file_id)
        self._put(key, data)
        digest = hashlib.sha256(data).hexdigest()
        return ResultFile(
            file_id=file_id, key=key, bytes=len(data), sha256=digest, filename=filename
        )

    def _put(self, key: str, data: bytes) -> None:
        while True:
            try:
                return self._machine.store.put(key, data)
            except StorageUnavailable as error:
                # Training is done and paid for: a storage that is away only makes it wait.
                log.warning("results.wait", job=self._claim.job_id, reason=str(error))
                if self._is_late():
                    raise
                time.sleep(STORE_RETRY_SECONDS)

    def _tell(self, work: Work) -> None:
        persistently(self._machine.sessions, work, give_up=self._is_late)

    def _note(self, entry: Entry) -> None:
        """Tell the owner of what is not worth waiting for the database. Raises Fenced."""
        claim = self._claim
        try:
            with transaction(self._machine.sessions) as session:
                progress.tell(session, claim.job_id, claim.epoch, entry)
        except DatabaseUnavailable as error:
            log.warning("note.untold", job=claim.job_id, reason=str(error))

    def _is_to_stop(self) -> bool:
        """Whether to go on later or elsewhere. Raises Fenced if there is nothing to go on with, and
        DatabaseUnavailable if the job may long be another's without anybody being able to say so.
        """
        if self._pulse.is_over:
            raise Fenced(f"{self._claim.job_id} is to {self._pulse.order}")
        if self._pulse.silent_seconds > self._machine.settings.disconnected_seconds:
            raise DatabaseUnavailable("The database has not answered for DISCONNECTED_SECONDS.")
        if self._machine.stopping.is_set():
            self._leave_at = self._leave_at or time.monotonic() + LEAVING_SECONDS
            return True
        return self._pulse.order is Order.PAUSE

    def _is_late(self) -> bool:
        self._is_to_stop()
        return self._leave_at is not None and time.monotonic() > self._leave_at
