"""Rows as the wire shows them."""

from app.db.tables import TERMINAL_STATES, Checkpoint, Job
from app.jobs.schemas import (
    CheckpointObject,
    JobError,
    JobObject,
    JobStatus,
    ResolvedHyperparameters,
)

# Clients' types do not know the inner states; "paused" is shown, since OpenAI documents it.
STATUS_BY_STATE: dict[str, JobStatus] = {
    "validating_files": "validating_files",
    "queued": "queued",
    "running": "running",
    "pausing": "running",
    "paused": "paused",
    "finalizing": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}


def serialize_job(row: Job, organization_id: str) -> JobObject:
    """A job. What a client is shown depends on its state: some columns fill before they count."""
    status = STATUS_BY_STATE[row.state]
    succeeded = status == "succeeded"
    chosen = ResolvedHyperparameters.model_validate({**row.hyperparameters, **(row.resolved or {})})
    return JobObject(
        id=row.id,
        model=row.start_model or row.base_model,
        created_at=row.created_at,
        finished_at=row.finished_at if row.state in TERMINAL_STATES else None,
        fine_tuned_model=row.tuned_model if succeeded else None,
        organization_id=organization_id,
        result_files=_result_files(row) if succeeded else [],
        status=status,
        training_file=row.training_file_id,
        validation_file=row.validation_file_id,
        hyperparameters=chosen,
        method={"type": row.method, row.method: {"hyperparameters": chosen.model_dump()}},
        trained_tokens=row.trained_tokens if succeeded else None,
        error=_serialize_error(row),
        estimated_finish=row.estimated_finish if status == "running" else None,
        seed=row.seed,
        integrations=row.integrations,
        metadata=row.user_metadata,
        user_provided_suffix=row.suffix,
    )


def _result_files(row: Job) -> list[str]:
    return [id_ for id_ in (row.result_file_id, row.evaluation_file_id) if id_ is not None]


def _serialize_error(row: Job) -> JobError | None:
    if row.state != "failed":
        return None
    return JobError(
        code=row.error_code or "server_error",
        message=row.error_message or "The job failed.",
        param=row.error_param,
    )


def serialize_checkpoint(row: Checkpoint) -> CheckpointObject:
    return CheckpointObject(
        id=row.id,
        created_at=row.created_at,
        fine_tuned_model_checkpoint=row.model_name or "",
        fine_tuning_job_id=row.job_id,
        step_number=row.step,
        metrics=row.metrics,
    )
