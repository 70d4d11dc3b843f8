"""What becomes of a job, by how its training process ended."""

import errno
import signal

from app.db.session import TransactionWork
from app.jobs import attempts, success
from app.jobs.file_checks import JobFailure
from app.jobs.leases import JobAssignment
from app.jobs.success import NoFinalCheckpoint, ResultFile
from worker.rundir import ExitCode, Failed
from worker.supervisor.run_dirs import CorruptDownload

DISK_FULL_CODE = "disk_full"


def on_exit(
    code: int, claim: JobAssignment, *, reported: Failed | None, was_stopped: bool
) -> TransactionWork:
    """What to tell the database of an attempt that ended with `code` and without a model.

    `failed` is what the process itself said of it; `was_stopped`, that it was asked to end.
    """
    job_id, epoch = claim.job_id, claim.attempt
    match code:
        case ExitCode.USER_ERROR | ExitCode.LOSS_NOT_FINITE:
            problem = _job_failure(code, reported)
            return lambda session: attempts.fail(session, job_id, epoch, problem, exit_code=code)
        case ExitCode.OUT_OF_DEVICE_MEMORY:
            return lambda session: attempts.retry_with_smaller_batch(
                session, job_id, epoch, exit_code=code
            )
        case ExitCode.DISK_FULL:
            return record_disk_full(claim, exit_code=code)
    if code == ExitCode.YIELDED or was_stopped:
        return lambda session: attempts.yield_job(session, job_id, epoch, exit_code=code)
    return record_crash(claim, _describe_exit(code), exit_code=code)


def succeed(
    claim: JobAssignment, *, trained_tokens: int, result: ResultFile, evaluation: ResultFile | None
) -> TransactionWork:
    """All of it is stored: the job has succeeded."""

    return lambda session: success.succeed(
        session,
        claim.job_id,
        claim.attempt,
        trained_tokens=trained_tokens,
        result=result,
        evaluation=evaluation,
    )


def fail(claim: JobAssignment, problem: JobFailure) -> TransactionWork:
    """It could not even start, and never will."""
    return lambda session: attempts.fail(session, claim.job_id, claim.attempt, problem)


def postpone(claim: JobAssignment, reason: str) -> TransactionWork:
    """Something is missing that others have to bring back."""
    return lambda session: attempts.postpone(session, claim.job_id, claim.attempt, reason=reason)


def yield_job(claim: JobAssignment) -> TransactionWork:
    return lambda session: attempts.yield_job(session, claim.job_id, claim.attempt)


def record_crash(
    claim: JobAssignment, reason: str, *, exit_code: int | None = None
) -> TransactionWork:
    return lambda session: attempts.record_crash(
        session, claim.job_id, claim.attempt, reason=reason, exit_code=exit_code
    )


def on_supervisor_error(claim: JobAssignment, error: Exception) -> TransactionWork:
    """Something of the machine's own went wrong around the training."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return record_disk_full(claim)
    if isinstance(error, CorruptDownload | NoFinalCheckpoint):
        return record_crash(claim, f"{error}.")
    return record_crash(claim, "The trainer had an error of its own.")


def record_disk_full(claim: JobAssignment, *, exit_code: int | None = None) -> TransactionWork:
    return lambda session: attempts.record_crash(
        session,
        claim.job_id,
        claim.attempt,
        reason="The trainer's disk is full.",
        code=DISK_FULL_CODE,
        exit_code=exit_code,
    )


def _job_failure(code: int, reported: Failed | None) -> JobFailure:
    if reported is not None:
        return JobFailure(reported.code, reported.message, reported.param)
    if code == ExitCode.LOSS_NOT_FINITE:
        message = (
            "The loss was not a finite number: the learning rate is too high. Use a smaller "
            "learning_rate_multiplier."
        )
        return JobFailure("loss_not_finite", message, "learning_rate_multiplier")
    return JobFailure("training_failed", "The job cannot be trained as it was asked for.")


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"The training process ended with code {code}."
    return f"The training process was killed by {signal.Signals(-code).name}."
