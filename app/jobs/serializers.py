"""Serializers of jobs, events and checkpoints: rows to wire objects."""

from collections.abc import Mapping

from app.db.tables import TERMINAL_STATES, Checkpoint, Job, JobAttempt, JobEvent, JobState
from app.jobs import attempts
from app.jobs.metric_series import Curves
from app.jobs.progress_report import ProgressReport
from app.jobs.schemas import (
    AttemptObject,
    CheckpointObject,
    EventObject,
    JobError,
    JobMetrics,
    JobObject,
    JobProgress,
    JobStatus,
    JobWait,
    MetricSeries,
    ResolvedHyperparameters,
)

# Map internal states to those in the SDKs' types; OpenAI documents "paused".
STATUS_BY_STATE: dict[JobState, JobStatus] = {
    JobState.VALIDATING_FILES: "validating_files",
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.PAUSING: "running",
    JobState.PAUSED: "paused",
    JobState.FINALIZING: "running",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


def serialize_job(
    row: Job,
    organization_id: str,
    progress: ProgressReport | None = None,
    *,
    has_requested_hyperparameters: bool = False,
    loss_curve: Mapping[int, float] | None = None,
) -> JobObject:
    """Serialize a job, with its progress and points of its training loss if they are given.

    Results are exposed only in the state they belong to; their columns are populated earlier.
    """
    # A state of a newer version, during an upgrade, is none of the terminal ones.
    status = STATUS_BY_STATE.get(row.state, "running")
    succeeded = status == "succeeded"
    hyperparameters = ResolvedHyperparameters.model_validate(
        {**row.hyperparameters, **(row.resolved_hyperparameters or {})}
    )
    return JobObject(
        id=row.id,
        model=row.start_model or row.base_model,
        created_at=row.created_at,
        finished_at=row.finished_at if row.state in TERMINAL_STATES else None,
        fine_tuned_model=row.fine_tuned_model if succeeded else None,
        organization_id=organization_id,
        result_files=_list_result_files(row) if succeeded else [],
        status=status,
        training_file=row.training_file_id,
        validation_file=row.validation_file_id,
        hyperparameters=hyperparameters,
        method={"type": row.method, row.method: {"hyperparameters": hyperparameters.model_dump()}},
        trained_tokens=row.trained_tokens if succeeded else None,
        error=_serialize_error(row),
        estimated_finish=row.estimated_finish if status == "running" else None,
        seed=row.seed,
        integrations=row.integrations,
        metadata=row.user_metadata,
        user_provided_suffix=row.suffix,
        test_file=row.test_file_id,
        test_results=row.test_results if succeeded else None,
        evaluations=row.evaluations,
        progress=None if progress is None else _serialize_progress(row, progress),
        requested_hyperparameters=row.hyperparameters if has_requested_hyperparameters else None,
        loss_curve=None if loss_curve is None else _serialize_series(loss_curve),
    )


def _serialize_progress(row: Job, progress: ProgressReport) -> JobProgress:
    wait, seconds_left = progress.wait, progress.seconds_left
    return JobProgress(
        state=row.state,
        step=progress.step,
        total_steps=progress.total_steps,
        seconds_left=None if seconds_left is None else round(seconds_left),
        attempts=progress.attempts,
        trained_seconds=round(row.trained_seconds, 1),
        queue_position=progress.queue_position,
        waiting=None if wait is None else JobWait(reason=wait.reason, message=wait.message),
    )


def _list_result_files(row: Job) -> list[str]:
    return [file for file in (row.result_file_id, row.evaluation_file_id) if file is not None]


def _serialize_error(row: Job) -> JobError | None:
    if row.state != JobState.FAILED:
        return None
    return JobError(
        code=row.error_code or "server_error",
        message=row.error_message or "The job failed.",
        param=row.error_param,
    )


def serialize_event(row: JobEvent) -> EventObject:
    """Serialize an event; fields and columns have the same names."""
    return EventObject.model_validate(row)


def serialize_checkpoint(row: Checkpoint) -> CheckpointObject:
    """Serialize a checkpoint that is servable as a model."""
    return CheckpointObject(
        id=row.id,
        created_at=row.created_at,
        fine_tuned_model_checkpoint=row.model_name or "",
        fine_tuning_job_id=row.job_id,
        step_number=row.step,
        metrics=row.metrics,
    )


def serialize_curves(job: Job, curves: Curves) -> JobMetrics:
    """Serialize the metrics of a job."""
    return JobMetrics(
        job_id=job.id,
        attempt=job.attempt,
        total_steps=job.total_steps,
        last_step=curves.last_step,
        step_count=curves.count,
        is_downsampled=curves.is_downsampled,
        series={name: _serialize_series(points) for name, points in curves.points.items()},
    )


def _serialize_series(points: Mapping[int, float]) -> MetricSeries:
    return MetricSeries(steps=list(points), values=list(points.values()))


def serialize_attempt(row: JobAttempt, open_steps: Mapping[int, int | None]) -> AttemptObject:
    """Serialize an attempt; `open_steps` has the step that an open one has reached."""
    return AttemptObject(
        id=attempts.build_id(row.job_id, row.attempt),
        attempt=row.attempt,
        trainer=row.trainer,
        started_at=row.started_at,
        ended_at=row.ended_at,
        end_reason=attempts.find_end(row),
        message=row.message,
        exit_code=row.exit_code,
        resumed_step=row.resumed_step,
        reached_step=open_steps.get(row.attempt, row.reached_step),
        log_tail=row.log_tail,
    )
