"""Validations that end with an error of the service: tried again with pauses, then the job fails.

The pauses let the project's other jobs be validated meanwhile.
"""

from sqlalchemy.orm import Session

from app.db.tables import Job, JobState
from app.jobs import lifecycle, validation_queue
from app.jobs.failures import JobErrorCode, JobFailure

MAX_TRIES = 5
# Before the second try; as much more before each later one. 100 seconds in all.
RETRY_DELAY_SECONDS = 10
MESSAGE = (
    f"The job's files could not be checked: {MAX_TRIES} tries ended with an internal error of the "
    "service. Upload the files again and create the job with them; if it fails again, report it to "
    "the operator with this job's id."
)


def record(session: Session, job_id: str) -> None:
    """Count a try that ended with an error; after the last one fail the job."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None or job.state != JobState.VALIDATING_FILES:
        return
    job.no_progress_attempts += 1
    if job.no_progress_attempts >= MAX_TRIES:
        lifecycle.fail(session, job_id, JobFailure(JobErrorCode.VALIDATION_FAILED, MESSAGE))
        return
    validation_queue.claim(session, job_id, seconds=RETRY_DELAY_SECONDS * job.no_progress_attempts)
