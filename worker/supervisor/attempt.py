"""One attempt at one job, from its claim to whatever ends it."""

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from app import ids, logs
from app.catalog import Catalog
from app.db.session import (
    DatabaseUnavailable,
    SessionMaker,
    TransactionWork,
    retry_until_available,
    transaction,
)
from app.jobs import progress, result_file, success
from app.jobs.events import NewEvent
from app.jobs.leases import JobAssignment, WorkerDirective
from app.jobs.states import LeaseLost
from app.jobs.success import NoFinalCheckpoint, ResultFile
from app.settings import Settings
from app.storage import ObjectStore, StorageUnavailable, file_key
from worker.rundir import EVALUATION_FILE, ExitCode
from worker.supervisor import exit_handling, run_dirs
from worker.supervisor.checkpoint_uploads import CheckpointUploader
from worker.supervisor.event_relay import EventRelay
from worker.supervisor.heartbeat import Heartbeat
from worker.supervisor.stall_watchdog import StallWatchdog
from worker.supervisor.training_process import TRAINING_COMMAND, TrainingProcess
from worker.supervisor.wandb_runs import WandbRuns

log = logs.get_logger(__name__)

POLL_INTERVAL_SECONDS = 0.2
# To write a checkpoint when asked to stop; then it is killed.
STOP_TIMEOUT_SECONDS = 20.0
# From the request to stop to the last try to bring in what there is.
DRAIN_TIMEOUT_SECONDS = 27.0
STORE_RETRY_INTERVAL_SECONDS = 5.0
# To write the stacks of all threads.
STACK_DUMP_TIMEOUT_SECONDS = 5.0
STALLED_MESSAGE = "Training made no progress any more and was ended."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerContext:
    """What a trainer works with. `stopping` is set when its process is to end."""

    settings: Settings
    sessions: SessionMaker
    store: ObjectStore
    catalog: Catalog
    stopping: Event
    command: Sequence[str] = TRAINING_COMMAND


class Attempt:
    """Decides nothing of what the job becomes: it tells the services, and they know the epoch."""

    def __init__(self, machine: TrainerContext, claim: JobAssignment) -> None:
        self._context = machine
        self._assignment = claim
        self._folder = run_dirs.run_dir_for(machine.settings, claim)
        self._heartbeat = Heartbeat(claim, machine.sessions, machine.settings)
        self._drain_deadline: float | None = None

    def run(self) -> None:
        """Train until the job or this attempt at it has ended, and leave nothing behind."""
        try:
            with self._heartbeat:
                self._run_and_record()
        except LeaseLost as error:
            log.info("attempt.fenced", job=self._assignment.job_id, reason=str(error))
        except DatabaseUnavailable as error:
            # The lease runs out, and the reconciler gives the job to the next.
            log.warning("attempt.left", job=self._assignment.job_id, reason=str(error))
        finally:
            shutil.rmtree(self._folder.path, ignore_errors=True)

    def _run_and_record(self) -> None:
        claim = self._assignment
        try:
            self._record(self._train())
        except (LeaseLost, DatabaseUnavailable):
            raise
        except run_dirs.UnusableJob as error:
            self._record(exit_handling.fail(claim, error.failure))
        except StorageUnavailable as error:
            log.warning("attempt.postponed", job=claim.job_id, reason=str(error))
            self._record(exit_handling.postpone(claim, "The storage could not be used."))
        except Exception as error:
            # Whatever it is must not take the trainer with it, and must not be tried for ever.
            log.exception("attempt.broken", job=claim.job_id)
            self._record(exit_handling.on_supervisor_error(claim, error))

    def _train(self) -> TransactionWork:
        """Prepare, train, store; what to tell of it."""
        machine, claim, folder = self._context, self._assignment, self._folder
        run_dirs.prepare(
            folder, claim, settings=machine.settings, store=machine.store, catalog=machine.catalog
        )
        if self._should_stop():
            return exit_handling.yield_job(claim)
        with CheckpointUploader(claim, folder, machine.sessions, machine.store) as uploads:
            journal = EventRelay(claim, folder, machine.sessions, uploads)
            with (
                WandbRuns(claim, folder, machine.settings, self._add_event) as integrations,
                TrainingProcess(folder, machine.command) as process,
            ):
                code = self._supervise(process, journal, uploads, integrations)
                integrations.finish()
            log.info("training.ended", job=claim.job_id, epoch=claim.attempt, exit_code=code)
            if code == ExitCode.DONE:
                return self._finish(journal, uploads)
            # What it stored before its end is kept, or the end would count as no progress.
            self._drain(journal, uploads)
            if code != ExitCode.YIELDED:
                run_dirs.retain_log(folder, machine.settings)
            if process.was_aborted:
                return exit_handling.record_crash(claim, STALLED_MESSAGE, exit_code=code)
            stopped = process.was_stopped
            return exit_handling.on_exit(code, claim, reported=journal.failed, was_stopped=stopped)

    def _supervise(
        self,
        process: TrainingProcess,
        journal: EventRelay,
        uploads: CheckpointUploader,
        integrations: WandbRuns,
    ) -> int:
        watch = StallWatchdog(self._folder, timeout_seconds=self._context.settings.hang_seconds)
        while (code := process.poll()) is None:
            if self._should_stop():
                process.stop(grace_seconds=STOP_TIMEOUT_SECONDS)
            if watch.is_stalled():
                process.abort(grace_seconds=STACK_DUMP_TIMEOUT_SECONDS)
            journal.relay()
            integrations.poll()
            self._heartbeat.step = journal.step
            # Raises what an upload came to; if it is Fenced there is no use in training on.
            _ = uploads.is_done
            time.sleep(POLL_INTERVAL_SECONDS)
        return code

    def _finish(self, journal: EventRelay, uploads: CheckpointUploader) -> TransactionWork:
        claim = self._assignment
        self._record(lambda session: success.finalize(session, claim.job_id, claim.attempt))
        if not self._drain(journal, uploads):
            return exit_handling.yield_job(claim)
        if journal.started is None:
            raise NoFinalCheckpoint("Training ended before it began")
        tokens = journal.started.trained_tokens
        return exit_handling.succeed(
            claim,
            trained_tokens=tokens,
            result=self._store_results(),
            evaluation=self._store_evaluation(),
        )

    def _drain(self, journal: EventRelay, uploads: CheckpointUploader) -> bool:
        """Wait until all that training wrote is brought in; False if there is no more time."""
        while not (journal.relay(force=True) and uploads.is_done):
            if self._is_past_deadline():
                return False
            time.sleep(POLL_INTERVAL_SECONDS)
        return True

    def _store_results(self) -> ResultFile:
        claim, sessions = self._assignment, self._context.sessions
        csv = retry_until_available(
            sessions,
            lambda session: result_file.render_step_metrics(session, claim.job_id),
            should_give_up=self._is_past_deadline,
        )
        return self._store_file("step_metrics.csv", csv)

    def _store_evaluation(self) -> ResultFile | None:
        """What the method measured of itself, if it did: it lies in the newest checkpoint."""
        for step in self._folder.list_checkpoint_steps()[:1]:
            path = self._folder.checkpoint(step) / EVALUATION_FILE
            if path.exists():
                return self._store_file(EVALUATION_FILE, path.read_bytes())
        return None

    def _store_file(self, filename: str, data: bytes) -> ResultFile:
        file_id = ids.file_id()
        key = file_key(self._assignment.project_id, file_id)
        self._put_with_retry(key, data)
        digest = hashlib.sha256(data).hexdigest()
        return ResultFile(
            file_id=file_id, key=key, bytes=len(data), sha256=digest, filename=filename
        )

    def _put_with_retry(self, key: str, data: bytes) -> None:
        while True:
            try:
                return self._context.store.put(key, data)
            except StorageUnavailable as error:
                # Training is done and paid for: a storage that is away only makes it wait.
                log.warning("results.wait", job=self._assignment.job_id, reason=str(error))
                if self._is_past_deadline():
                    raise
                time.sleep(STORE_RETRY_INTERVAL_SECONDS)

    def _record(self, work: TransactionWork) -> None:
        retry_until_available(self._context.sessions, work, should_give_up=self._is_past_deadline)

    def _add_event(self, entry: NewEvent) -> None:
        """Tell the owner of what is not worth waiting for the database. Raises Fenced."""
        claim = self._assignment
        try:
            with transaction(self._context.sessions) as session:
                progress.add_event(session, claim.job_id, claim.attempt, entry)
        except DatabaseUnavailable as error:
            log.warning("note.untold", job=claim.job_id, reason=str(error))

    def _should_stop(self) -> bool:
        """Whether to go on later or elsewhere. Raises Fenced if there is nothing to go on with, and
        DatabaseUnavailable if the job may long be another's without anybody being able to say so.
        """
        if self._heartbeat.is_attempt_over:
            raise LeaseLost(f"{self._assignment.job_id} is to {self._heartbeat.directive}")
        if self._heartbeat.seconds_since_contact > self._context.settings.disconnected_seconds:
            raise DatabaseUnavailable("The database has not answered for DISCONNECTED_SECONDS.")
        if self._context.stopping.is_set():
            self._drain_deadline = self._drain_deadline or time.monotonic() + DRAIN_TIMEOUT_SECONDS
            return True
        return self._heartbeat.directive is WorkerDirective.PAUSE

    def _is_past_deadline(self) -> bool:
        self._should_stop()
        return self._drain_deadline is not None and time.monotonic() > self._drain_deadline
