"""Comparison of a trained model with the engine: the attempts that began one, and did not survive.

A machine that runs out of memory may end the trainer with the training process. The job's next
attempt resumes after the last step, at the comparison, and would be ended again.
"""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.db.tables import AttemptOutcome, JobAttempt, JobEvent
from app.jobs.events import NewEvent

BEGAN_KEY = "comparison_began:"


def build_began_event(attempt: int) -> NewEvent:
    """Make the event that is stored before the comparison needs memory."""
    message = "Comparing the model with the engine that will serve it"
    return NewEvent(f"{BEGAN_KEY}{attempt}", message)


def was_fatal(session: Session, job_id: str) -> bool:
    """True if an attempt was lost that had begun the comparison."""
    is_lost = (
        JobAttempt.job_id == JobEvent.job_id,
        JobAttempt.attempt == JobEvent.attempt,
        JobAttempt.outcome == AttemptOutcome.LOST,
    )
    has_begun = (JobEvent.job_id == job_id, JobEvent.dedupe_key.startswith(BEGAN_KEY))
    return bool(session.scalar(select(exists().where(*has_begun, *is_lost))))
