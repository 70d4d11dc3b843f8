"""Maps the end of a training process to the transaction that records it."""

import errno
import signal
from collections.abc import Mapping
from typing import Any

from app.db.session import TransactionWork
from app.jobs import attempt_outcomes, finalization
from app.jobs.events import NewEvent
from app.jobs.failures import JobErrorCode, JobFailure
from app.jobs.finalization import NoFinalCheckpoint, ResultFile
from app.jobs.leases import JobAssignment
from worker.run_folder import ExitCode, Failed
from worker.supervisor.run_folders import CorruptDownload


def on_exit(
    code: int,
    assignment: JobAssignment,
    *,
    reported: Failed | None,
    is_stop_requested: bool,
    yielded_event: NewEvent | None = None,
) -> TransactionWork:
    """Map an exit code other than DONE to the transaction that records the attempt's outcome.

    `reported` is the process's own error report; `is_stop_requested` is true if the
    supervisor stopped it, and `yielded_event` says why, if its owner should know.
    """
    job_id, attempt = assignment.job_id, assignment.attempt
    match code:
        case ExitCode.USER_ERROR:
            failure = _job_failure(code, reported)
            return lambda session: attempt_outcomes.fail(
                session, job_id, attempt, failure, exit_code=code
            )
        case ExitCode.LOSS_NOT_FINITE | ExitCode.DIVERGED:
            failure = _job_failure(code, reported)
            good = (reported and reported.last_good_step) or 0
            return lambda session: attempt_outcomes.restart_at_smaller_rate(
                session, job_id, attempt, failure, last_good_step=good, exit_code=code
            )
        case ExitCode.OUT_OF_DEVICE_MEMORY:
            return lambda session: attempt_outcomes.retry_with_smaller_batch(
                session, job_id, attempt, exit_code=code
            )
        case ExitCode.OUT_OF_HOST_MEMORY:
            reason = reported.message if reported else "Too little memory is free."
            return lambda session: attempt_outcomes.record_crash(
                session,
                job_id,
                attempt,
                reason=reason,
                code=JobErrorCode.OUT_OF_MEMORY,
                exit_code=code,
            )
        case ExitCode.DISK_FULL:
            return record_disk_full(assignment, exit_code=code)
    if code == ExitCode.YIELDED or is_stop_requested:
        return lambda session: attempt_outcomes.yield_job(
            session, job_id, attempt, exit_code=code, event=yielded_event
        )
    return record_crash(assignment, _describe_exit(code), exit_code=code)


def succeed(
    assignment: JobAssignment,
    *,
    trained_tokens: int,
    result: ResultFile,
    evaluation: ResultFile | None,
    test_results: Mapping[str, Any] | None = None,
) -> TransactionWork:
    """Make the transaction for a job whose results are all stored."""
    return lambda session: finalization.succeed(
        session,
        assignment.job_id,
        assignment.attempt,
        trained_tokens=trained_tokens,
        result=result,
        evaluation=evaluation,
        test_results=test_results,
    )


def fail(assignment: JobAssignment, failure: JobFailure) -> TransactionWork:
    """Make the transaction for a job that can never start."""
    return lambda session: attempt_outcomes.fail(
        session, assignment.job_id, assignment.attempt, failure
    )


def postpone(assignment: JobAssignment, reason: str) -> TransactionWork:
    """Make the transaction for an attempt that waits for an unavailable dependency."""
    return lambda session: attempt_outcomes.postpone(
        session, assignment.job_id, assignment.attempt, reason=reason
    )


def yield_job(assignment: JobAssignment) -> TransactionWork:
    """Make the transaction for an attempt that continues later or on another trainer."""
    return lambda session: attempt_outcomes.yield_job(
        session, assignment.job_id, assignment.attempt
    )


def end_at_time_limit(
    assignment: JobAssignment, *, hours: float, exit_code: int | None = None
) -> TransactionWork:
    """Make the transaction for a job that has trained for as long as a job may."""
    return lambda session: attempt_outcomes.end_at_time_limit(
        session, assignment.job_id, assignment.attempt, hours=hours, exit_code=exit_code
    )


def record_crash(
    assignment: JobAssignment, reason: str, *, exit_code: int | None = None
) -> TransactionWork:
    return lambda session: attempt_outcomes.record_crash(
        session, assignment.job_id, assignment.attempt, reason=reason, exit_code=exit_code
    )


def on_supervisor_error(assignment: JobAssignment, error: Exception) -> TransactionWork:
    """Make the transaction for an error of the supervisor itself, outside training."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return record_disk_full(assignment)
    if isinstance(error, CorruptDownload | NoFinalCheckpoint):
        return record_crash(assignment, f"{error}.")
    return record_crash(assignment, "The trainer had an internal error.")


def record_oom_kill(
    assignment: JobAssignment, reason: str, *, has_started: bool, exit_code: int
) -> TransactionWork:
    """Make the transaction for a process that the kernel killed because memory ran out.

    Fewer examples at a time need less memory, but not before the first step.
    """
    job_id, attempt = assignment.job_id, assignment.attempt
    if has_started:
        return lambda session: attempt_outcomes.retry_with_smaller_batch(
            session, job_id, attempt, exit_code=exit_code, reason=reason
        )
    return lambda session: attempt_outcomes.record_crash(
        session,
        job_id,
        attempt,
        reason=f"{reason} Use a smaller base model, or a machine with more memory.",
        code=JobErrorCode.OUT_OF_MEMORY,
        exit_code=exit_code,
    )


def record_disk_full(assignment: JobAssignment, *, exit_code: int | None = None) -> TransactionWork:
    return lambda session: attempt_outcomes.record_crash(
        session,
        assignment.job_id,
        assignment.attempt,
        reason="The trainer's disk is full.",
        code=JobErrorCode.DISK_FULL,
        exit_code=exit_code,
    )


def _job_failure(code: int, reported: Failed | None) -> JobFailure:
    if reported is not None:
        return JobFailure(reported.code, reported.message, reported.param)
    if code == ExitCode.LOSS_NOT_FINITE:
        message = (
            "The loss became NaN or infinite: the learning rate is too high. Use a smaller "
            "learning_rate_multiplier."
        )
        return JobFailure(JobErrorCode.LOSS_NOT_FINITE, message, "learning_rate_multiplier")
    return JobFailure(
        JobErrorCode.TRAINING_FAILED, "The job cannot be trained with these settings."
    )


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"The training process exited with code {code}."
    return f"The training process was killed by {signal.Signals(-code).name}."
