"""What becomes of a job, by how its training process ended."""

import errno
import signal

from app.db.session import Work
from app.jobs import attempts, success
from app.jobs.file_checks import Problem
from app.jobs.leases import Claim
from app.jobs.success import NoFinalCheckpoint, ResultFile
from worker.rundir import Exit, Failed
from worker.supervisor.run_dirs import Damaged

DISK_FULL = "disk_full"


def after(code: int, claim: Claim, *, failed: Failed | None, was_stopped: bool) -> Work:
    """What to tell the database of an attempt that ended with `code` and without a model.

    `failed` is what the process itself said of it; `was_stopped`, that it was asked to end.
    """
    job_id, epoch = claim.job_id, claim.epoch
    match code:
        case Exit.USER_ERROR | Exit.LOSS_NOT_FINITE:
            problem = _problem(code, failed)
            return lambda session: attempts.failed(session, job_id, epoch, problem, exit_code=code)
        case Exit.OUT_OF_DEVICE_MEMORY:
            return lambda session: attempts.out_of_memory(session, job_id, epoch, exit_code=code)
        case Exit.DISK_FULL:
            return disk_full(claim, exit_code=code)
    if code == Exit.YIELDED or was_stopped:
        return lambda session: attempts.yielded(session, job_id, epoch, exit_code=code)
    return crashed(claim, _described(code), exit_code=code)


def done(
    claim: Claim, *, trained_tokens: int, result: ResultFile, evaluation: ResultFile | None
) -> Work:
    """All of it is stored: the job has succeeded."""

    return lambda session: success.succeed(
        session,
        claim.job_id,
        claim.epoch,
        trained_tokens=trained_tokens,
        result=result,
        evaluation=evaluation,
    )


def failed(claim: Claim, problem: Problem) -> Work:
    """It could not even start, and never will."""
    return lambda session: attempts.failed(session, claim.job_id, claim.epoch, problem)


def postponed(claim: Claim, reason: str) -> Work:
    """Something is missing that others have to bring back."""
    return lambda session: attempts.postponed(session, claim.job_id, claim.epoch, reason=reason)


def yielded(claim: Claim) -> Work:
    return lambda session: attempts.yielded(session, claim.job_id, claim.epoch)


def crashed(claim: Claim, reason: str, *, exit_code: int | None = None) -> Work:
    return lambda session: attempts.crashed(
        session, claim.job_id, claim.epoch, reason=reason, exit_code=exit_code
    )


def broken(claim: Claim, error: Exception) -> Work:
    """Something of the machine's own went wrong around the training."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(claim)
    if isinstance(error, Damaged | NoFinalCheckpoint):
        return crashed(claim, f"{error}.")
    return crashed(claim, "The trainer had an error of its own.")


def disk_full(claim: Claim, *, exit_code: int | None = None) -> Work:
    return lambda session: attempts.crashed(
        session,
        claim.job_id,
        claim.epoch,
        reason="The trainer's disk is full.",
        code=DISK_FULL,
        exit_code=exit_code,
    )


def _problem(code: int, failed: Failed | None) -> Problem:
    if failed is not None:
        return Problem(failed.code, failed.message, failed.param)
    if code == Exit.LOSS_NOT_FINITE:
        message = (
            "The loss was not a finite number: the learning rate is too high. Use a smaller "
            "learning_rate_multiplier."
        )
        return Problem("loss_not_finite", message, "learning_rate_multiplier")
    return Problem("training_failed", "The job cannot be trained as it was asked for.")


def _described(code: int) -> str:
    if code >= 0:
        return f"The training process ended with code {code}."
    return f"The training process was killed by {signal.Signals(-code).name}."
