"""One attempt at one job, from the acquired lease to its outcome."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from app import ids, logs
from app.catalog import GENERATIVE_METHODS, Catalog
from app.db.session import (
    DatabaseUnavailable,
    SessionMaker,
    TransactionWork,
    retry_until_available,
    transaction,
)
from app.jobs import attempts, finalization, limits, progress, result_file, time_slices
from app.jobs.events import NewEvent
from app.jobs.finalization import NoFinalCheckpoint, ResultFile
from app.jobs.leases import JobAssignment, TrainerDirective
from app.jobs.states import LeaseLost
from app.settings import Settings
from app.storage import ObjectStore, StorageUnavailable, file_key
from worker.host_memory import HostMemory
from worker.inference.native import build as kernels
from worker.run_folder import EVALUATION_FILE, ExitCode
from worker.supervisor import (
    base_models,
    compared_adapters,
    comparison_end,
    exit_handling,
    log_tail,
    run_folders,
    test_results,
)
from worker.supervisor.checkpoint_uploads import CheckpointUploader
from worker.supervisor.event_relay import EventRelay, build_note
from worker.supervisor.fork_server_client import ForkServerClient
from worker.supervisor.heartbeat import Heartbeat
from worker.supervisor.oom_kills import OomKillDetector
from worker.supervisor.sandbox import Sandbox, list_needed_paths, open_sandbox
from worker.supervisor.slots import Slot
from worker.supervisor.stall_watchdog import FIRST_EVENT_TIMEOUT_FACTOR, StallWatchdog
from worker.supervisor.training_process import (
    EVALUATION_COMMAND,
    TRAINING_COMMAND,
    TrainingProcess,
)
from worker.supervisor.wandb_runs import WandbRuns

log = logs.get_logger(__name__)

POLL_INTERVAL_SECONDS = 0.2
# Time to write a checkpoint after a stop request; then training is killed.
STOP_TIMEOUT_SECONDS = 20.0
# Time from the shutdown of the trainer to its last attempt to store results.
DRAIN_TIMEOUT_SECONDS = 27.0
STORE_RETRY_INTERVAL_SECONDS = 5.0
# Time for a stalled process to dump the stacks of its threads.
STACK_DUMP_TIMEOUT_SECONDS = 5.0
STALLED_MESSAGE = "Training stopped making progress and was ended."
EVALUATION_FAILED_MESSAGE = "The process that measures it ended unexpectedly; the model is trained."
EVALUATION_TIME_MESSAGE = "The job reached its time limit before that; the model is trained."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerContext:
    """Dependencies of a trainer. `stopping` is set when its process must shut down."""

    settings: Settings
    sessions: SessionMaker
    store: ObjectStore
    catalog: Catalog
    stopping: Event
    command: Sequence[str] = TRAINING_COMMAND
    evaluation_command: Sequence[str] = EVALUATION_COMMAND
    host_memory: HostMemory = field(default_factory=HostMemory)
    # Forks the processes of TRAINING_COMMAND, if there is one.
    fork_server: ForkServerClient | None = None


class Attempt:
    """Runs one attempt. The outcome is decided by `app.jobs`, fenced by the attempt's number."""

    def __init__(self, context: TrainerContext, assignment: JobAssignment, slot: Slot) -> None:
        self._context = context
        self._slot = slot
        self._assignment = assignment
        self._folder = run_folders.get_run_folder(context.settings, assignment)
        self._heartbeat = Heartbeat(assignment, context.sessions, context.settings)
        self._began_at = time.monotonic()
        self._drain_deadline: float | None = None
        self._evaluation_error = EVALUATION_FAILED_MESSAGE

    def run(self) -> None:
        """Train until the job or this attempt has ended, then remove the run folder."""
        try:
            with self._heartbeat:
                self._run_and_record()
        except LeaseLost as error:
            log.info("attempt.lease_lost", job=self._assignment.job_id, reason=str(error))
        except DatabaseUnavailable as error:
            # The lease expires, and the reconciler requeues the job.
            log.warning("attempt.abandoned", job=self._assignment.job_id, reason=str(error))
        finally:
            run_folders.remove(self._folder, self._assignment.job_id, self._context.settings)

    def _run_and_record(self) -> None:
        assignment = self._assignment
        try:
            self._record(self._train())
        except (LeaseLost, DatabaseUnavailable):
            raise
        except run_folders.UnusableJob as error:
            self._record(exit_handling.fail(assignment, error.failure))
        except StorageUnavailable as error:
            log.warning("attempt.postponed", job=assignment.job_id, reason=str(error))
            self._record(exit_handling.postpone(assignment, "The storage was unavailable."))
        except Exception as error:
            # An unknown error must neither end the trainer nor be retried forever.
            log.exception("attempt.error", job=assignment.job_id)
            self._record(exit_handling.on_supervisor_error(assignment, error))

    def _train(self) -> TransactionWork:
        """Prepare, train and store; return the transaction that records the outcome."""
        if self._is_over_time_limit():
            return self._end_at_time_limit()
        context = self._context
        model = run_folders.get_model(self._assignment, context.catalog)
        models = run_folders.get_model_cache(context.settings)
        if context.command == TRAINING_COMMAND:
            base_models.ensure_cached(
                model,
                models,
                settings=context.settings,
                should_stop=self._is_stopping,
                timeout_seconds=FIRST_EVENT_TIMEOUT_FACTOR
                * context.settings.training_stall_timeout_seconds,
            )
            if context.settings.native_kernels:
                kernels.prepare(models)
        needed = list_needed_paths(context.command, model.source)
        with open_sandbox(models, needed) as sandbox:
            run_folders.prepare(
                self._folder,
                self._assignment,
                settings=context.settings,
                store=context.store,
                model=model,
                model_cache=sandbox.model_cache,
            )
            sandbox.hand_over(self._folder)
            if self._is_stopping():
                return exit_handling.yield_job(self._assignment)
            return self._train_in(sandbox)

    def _train_in(self, sandbox: Sandbox) -> TransactionWork:
        context, assignment, folder = self._context, self._assignment, self._folder
        oom_kills = OomKillDetector(context.host_memory)
        with CheckpointUploader(assignment, folder, context.sessions, context.store) as uploader:
            relay = EventRelay(assignment, folder, context.sessions, uploader)
            with (
                WandbRuns(assignment, folder, context.settings, self._add_event) as wandb_runs,
                TrainingProcess(
                    folder, context.command, sandbox, self._slot, fork_server=context.fork_server
                ) as process,
            ):
                code = self._supervise(process, relay, uploader, oom_kills, wandb_runs.poll)
                code = self._excuse_comparison(code, process, relay, oom_kills)
                wandb_runs.finish()
            self._record_log()
            log.info(
                "training.ended",
                job=assignment.job_id,
                attempt=assignment.attempt,
                exit_code=code,
            )
            if code == ExitCode.DONE and self._needs_evaluation:
                command = context.evaluation_command
                with TrainingProcess(folder, command, sandbox, self._slot) as process:
                    code = self._supervise(process, relay, uploader, oom_kills)
                code = self._check_evaluation(code, process, relay)
            if code == ExitCode.DONE:
                return self._finish(relay, uploader)
            # Checkpoints written before the end count as progress.
            self._drain(relay, uploader)
            if code != ExitCode.YIELDED:
                run_folders.retain_log(folder, context.settings)
            if process.is_aborted:
                return exit_handling.record_crash(assignment, STALLED_MESSAGE, exit_code=code)
            return self._record_exit(code, process, relay, oom_kills)

    def _record_log(self) -> None:
        """Keep the tail of the training process's log for the job's owner."""
        tail = log_tail.read_tail(self._folder.log)
        assignment = self._assignment
        self._record(
            lambda session: attempts.record_log(
                session, assignment.job_id, assignment.attempt, tail
            )
        )

    def _excuse_comparison(
        self,
        code: int,
        process: TrainingProcess,
        relay: EventRelay,
        oom_kills: OomKillDetector,
    ) -> int:
        relay.relay(force=True)
        note = comparison_end.excuse(code, process, relay, oom_kills)
        if note is None:
            return code
        run_folders.retain_log(self._folder, self._context.settings)
        self._add_event(build_note(note))
        return ExitCode.DONE

    @property
    def _needs_evaluation(self) -> bool:
        """Chat models answer the test file's rows after training; encoders measure it at its end.

        In a process of its own, since it serves the model as engines do.
        """
        is_chat = self._assignment.method in GENERATIVE_METHODS
        return is_chat and self._assignment.test_file is not None

    def _check_evaluation(self, code: int, process: TrainingProcess, relay: EventRelay) -> int:
        """Keep an evaluation that failed, stalled or ran out of the job's time from failing the
        job, whose model is trained."""
        relay.relay(force=True)
        is_stopped = process.is_stop_requested and not process.is_aborted
        if code == ExitCode.DONE:
            return code
        if code == ExitCode.YIELDED or is_stopped:
            if not self._is_over_time_limit():
                return code
            self._evaluation_error = EVALUATION_TIME_MESSAGE
            return ExitCode.DONE
        log.error("evaluation.failed", job=self._assignment.job_id, exit_code=code)
        run_folders.retain_log(self._folder, self._context.settings)
        return ExitCode.DONE

    def _record_exit(
        self,
        code: int,
        process: TrainingProcess,
        relay: EventRelay,
        oom_kills: OomKillDetector,
    ) -> TransactionWork:
        is_stopped = code == ExitCode.YIELDED or process.is_stop_requested
        if is_stopped and self._is_over_time_limit():
            return self._end_at_time_limit(exit_code=code)
        out_of_memory = None if is_stopped else oom_kills.describe(code)
        if out_of_memory is not None:
            return exit_handling.record_oom_kill(
                self._assignment,
                out_of_memory,
                has_started=relay.started is not None,
                exit_code=code,
            )
        return exit_handling.on_exit(
            code,
            self._assignment,
            reported=relay.failed,
            is_stop_requested=process.is_stop_requested,
            yielded_event=self._build_yielded_event(),
        )

    def _build_yielded_event(self) -> NewEvent | None:
        if self._heartbeat.directive is not TrainerDirective.YIELD:
            return None
        return time_slices.build_yielded_event(self._assignment.attempt)

    def _end_at_time_limit(self, *, exit_code: int | None = None) -> TransactionWork:
        hours = self._context.settings.max_job_hours
        return exit_handling.end_at_time_limit(self._assignment, hours=hours, exit_code=exit_code)

    def _supervise(
        self,
        process: TrainingProcess,
        relay: EventRelay,
        uploader: CheckpointUploader,
        oom_kills: OomKillDetector,
        poll: Callable[[], None] | None = None,
    ) -> int:
        """Wait for the end of a process, call `poll` meanwhile, and return its exit code."""
        settings = self._context.settings
        watchdog = StallWatchdog(
            self._folder, timeout_seconds=settings.training_stall_timeout_seconds
        )
        while (code := process.poll()) is None:
            self._stop_if_due(process, relay)
            if watchdog.is_stalled():
                process.abort(grace_seconds=STACK_DUMP_TIMEOUT_SECONDS)
            oom_kills.sample(process.pid)
            relay.relay()
            self._check_token_limit(relay)
            if poll is not None:
                poll()
            self._heartbeat.step = relay.step
            # Raises the error of an upload; after LeaseLost further training is useless.
            _ = uploader.is_done
            process.wait(POLL_INTERVAL_SECONDS)
        return code

    def _stop_if_due(self, process: TrainingProcess, relay: EventRelay) -> None:
        """Request a stop if the trainer shuts down, or the job's time or time slice is used up."""
        if self._is_stopping():
            process.stop(grace_seconds=STOP_TIMEOUT_SECONDS)
            return
        # A job that yields before its first step would prepare for it again and never get there.
        must_yield = self._heartbeat.directive is TrainerDirective.YIELD and relay.has_trained
        if must_yield or self._is_over_time_limit():
            # Nobody needs the trainer at once: the checkpoint may wait for the end of a long step.
            process.stop(grace_seconds=self._context.settings.training_stall_timeout_seconds)

    def _is_over_time_limit(self) -> bool:
        hours = self._context.settings.max_job_hours
        seconds = self._assignment.trained_seconds + time.monotonic() - self._began_at
        return 0 < hours * limits.SECONDS_PER_HOUR <= seconds

    def _check_token_limit(self, relay: EventRelay) -> None:
        """Raise UnusableJob for a job that would train too many tokens, before it has begun."""
        most, started = self._context.settings.max_job_tokens, relay.started
        if most and started and not started.from_step and started.trained_tokens > most:
            failure = limits.build_token_limit_failure(started.trained_tokens, most)
            raise run_folders.UnusableJob(failure)

    def _finish(self, relay: EventRelay, uploader: CheckpointUploader) -> TransactionWork:
        assignment = self._assignment
        self._record(
            lambda session: finalization.finalize(session, assignment.job_id, assignment.attempt)
        )
        if not self._drain(relay, uploader):
            return exit_handling.yield_job(assignment)
        if relay.started is None:
            raise NoFinalCheckpoint("Training ended before it began")
        if relay.engine_compared is not None:
            compared_adapters.record(self._context.settings, relay.engine_compared)
        tokens = relay.started.trained_tokens
        evaluation = self._read_evaluation(relay)
        return exit_handling.succeed(
            assignment,
            trained_tokens=tokens,
            result=self._store_results(),
            evaluation=None
            if evaluation is None
            else self._store_file(EVALUATION_FILE, evaluation),
            test_results=self._get_test_results(evaluation),
        )

    def _drain(self, relay: EventRelay, uploader: CheckpointUploader) -> bool:
        """Wait until all events and checkpoints are stored; return False after the deadline."""
        while not (relay.relay(force=True) and uploader.is_done):
            if self._is_past_deadline():
                return False
            if uploader.is_done:
                time.sleep(POLL_INTERVAL_SECONDS)
            else:
                uploader.wait(POLL_INTERVAL_SECONDS)
        return True

    def _store_results(self) -> ResultFile:
        assignment, sessions = self._assignment, self._context.sessions
        csv = retry_until_available(
            sessions,
            lambda session: result_file.render_step_metrics(session, assignment.job_id),
            should_give_up=self._is_past_deadline,
        )
        return self._store_file("step_metrics.csv", csv)

    def _read_evaluation(self, relay: EventRelay) -> bytes | None:
        """Read the evaluation of the latest checkpoint, and add that of the test file, if any."""
        content = None
        for step in self._folder.list_checkpoint_steps()[:1]:
            if (self._folder.checkpoint(step) / EVALUATION_FILE).exists():
                with self._folder.open_checkpoint_file(step, EVALUATION_FILE) as path:
                    content = path.read_bytes()
        if relay.evaluated is None:
            return content
        return test_results.add_report(content, relay.evaluated, relay.engine_compared)

    def _get_test_results(self, evaluation: bytes | None) -> dict[str, Any] | None:
        if self._assignment.test_file is None:
            return None
        results = test_results.extract_results(evaluation)
        return {"error": self._evaluation_error} if results is None else results

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
                # Training is done: an unavailable storage only delays the result.
                log.warning(
                    "results.storage_unavailable", job=self._assignment.job_id, reason=str(error)
                )
                if self._is_past_deadline():
                    raise
                time.sleep(STORE_RETRY_INTERVAL_SECONDS)

    def _record(self, work: TransactionWork) -> None:
        retry_until_available(self._context.sessions, work, should_give_up=self._is_past_deadline)

    def _add_event(self, event: NewEvent) -> None:
        """Add an event, unless the database is unavailable. Raises LeaseLost."""
        assignment = self._assignment
        try:
            with transaction(self._context.sessions) as session:
                progress.add_event(session, assignment.job_id, assignment.attempt, event)
        except DatabaseUnavailable as error:
            log.warning("event.dropped", job=assignment.job_id, reason=str(error))

    def _is_stopping(self) -> bool:
        """Check whether the attempt must stop, to continue later or on another trainer.

        Raises LeaseLost if the attempt is over, and DatabaseUnavailable after an outage of
        `database_outage_timeout_seconds`, when another trainer may already own the job.
        """
        if self._heartbeat.is_attempt_over:
            raise LeaseLost(f"{self._assignment.job_id}: {self._heartbeat.directive}")
        limit = self._context.settings.database_outage_timeout_seconds
        if self._heartbeat.seconds_since_contact > limit:
            raise DatabaseUnavailable(f"The database has not responded for {limit} seconds.")
        if self._context.stopping.is_set():
            self._drain_deadline = self._drain_deadline or time.monotonic() + DRAIN_TIMEOUT_SECONDS
            return True
        return self._heartbeat.directive is TrainerDirective.PAUSE

    def _is_past_deadline(self) -> bool:
        self._is_stopping()
        return self._drain_deadline is not None and time.monotonic() > self._drain_deadline
