"""Jobs of a restored backup: their trainers are gone, and their storage may be in use again."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.tables import TERMINAL_STATES, Job
from app.jobs import attempt_outcomes, states

# Attempts of the old service after the backup have stored objects under the next numbers, if the
# bucket is the same; a new attempt must not meet them.
ATTEMPT_GAP = 1000


def requeue(session: Session) -> int:
    """Requeue the jobs that trainers held when the backup was taken; return their number.

    They resume at their last checkpoint in the backup. It counts as no failure of theirs.
    """
    held = session.scalars(select(Job).where(Job.state.in_(states.HELD_STATES))).all()
    for job in held:
        attempt_outcomes.requeue_restored(session, job.id, job.attempt)
    session.execute(
        update(Job)
        .where(Job.state.not_in(TERMINAL_STATES))
        .values(attempt=Job.attempt + ATTEMPT_GAP, no_progress_attempts=0)
        .execution_options(synchronize_session=False)
    )
    return len(held)
