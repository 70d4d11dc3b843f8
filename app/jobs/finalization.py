"""Success of a job: model, result file, usage and state in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, null
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import (
    AttemptOutcome,
    File,
    FilePurpose,
    FileStatus,
    Job,
    JobState,
    TrainingUsage,
)
from app.jobs import checkpoints, events, states, test_answers
from app.jobs.events import NewEvent


class NoFinalCheckpoint(Exception):
    """Training reported success, but the checkpoint of its last step was never recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """A result file whose bytes are already in the store."""

    file_id: str
    key: str
    bytes: int
    sha256: str
    filename: str = "step_metrics.csv"


def finalize(session: Session, job_id: str, attempt: int) -> None:
    """Mark a job whose training is complete but not yet stored as finalizing. Raises LeaseLost."""
    if states.lock_for_attempt(session, job_id, attempt).state != JobState.FINALIZING:
        states.transition(
            session, job_id, to=JobState.FINALIZING, by_attempt=attempt, estimated_finish=None
        )


def succeed(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    trained_tokens: int,
    result: ResultFile,
    evaluation: ResultFile | None = None,
    test_results: Mapping[str, Any] | None = None,
) -> str:
    """Complete a job; return the name of its model, which becomes servable with this commit.

    Raises LeaseLost or NoFinalCheckpoint.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    name = checkpoints.promote(session, job)
    if name is None:
        raise NoFinalCheckpoint(f"Training ended without a checkpoint at step {job.total_steps}")
    for file in (result, evaluation):
        if file is not None:
            session.add(_build_file_row(job, file))
    session.flush()
    moved = states.transition(
        session,
        job_id,
        to=JobState.SUCCEEDED,
        by_attempt=attempt,
        finished_at=func.clock_timestamp(),
        estimated_finish=None,
        trained_tokens=trained_tokens,
        fine_tuned_model=name,
        result_file_id=result.file_id,
        evaluation_file_id=None if evaluation is None else evaluation.file_id,
        test_results=null() if test_results is None else dict(test_results),
    )
    if moved is None:
        raise states.LeaseLost(f"{job_id} was not finalizing")
    states.end_attempt(session, job_id, outcome=AttemptOutcome.DONE, exit_code=0)
    _record_usage(session, moved, trained_tokens)
    new_events = [
        NewEvent("model", f"New fine-tuned model created: {name}"),
        NewEvent("succeeded", "The job has successfully completed"),
    ]
    if test_results is not None:
        new_events.insert(0, test_answers.build_event(test_results))
        test_answers.delete_all(session, job_id)
    events.append(session, moved, new_events)
    return name


def _build_file_row(job: Job, result: ResultFile) -> File:
    return File(
        id=result.file_id,
        project_id=job.project_id,
        filename=result.filename,
        purpose=FilePurpose.FINE_TUNE_RESULTS,
        bytes=result.bytes,
        sha256=result.sha256,
        storage_key=result.key,
        status=FileStatus.PROCESSED,
    )


def _record_usage(session: Session, job: Job, trained_tokens: int) -> None:
    # The primary key rejects a second row for a job, so its usage is never counted twice.
    session.execute(
        insert(TrainingUsage).values(
            job_id=job.id,
            project_id=job.project_id,
            base_model=job.base_model,
            trained_tokens=trained_tokens,
        )
    )
