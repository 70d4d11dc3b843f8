"""A request for a job that is estimated: checked as at its creation."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.job_estimates.schemas import QueuePlace
from app.jobs import file_checks, service, start_models
from app.jobs.failures import JobFailure
from app.jobs.job_rules import JobRules
from app.jobs.project_queue import find_project_queue
from app.jobs.schemas import CreateJob
from app.jobs.service import CheckedRequest
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """A valid request for a job, with the project's queue.

    `inherited` are the hyperparameters of the model to continue from that it takes over, `failure`
    is the reason why it cannot be trained with its files.
    """

    request: CheckedRequest
    inherited: dict[str, Any]
    failure: JobFailure | None
    queue: QueuePlace

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters as training resolves them: requested, inherited, else "auto"."""
        return {**self.request.hyperparameters, **self.inherited}


def check(
    session: Session, *, settings: Settings, catalog: Catalog, body: CreateJob, project_id: str
) -> CheckedJob:
    request = service.check(session, JobRules.from_settings(settings, catalog), project_id, body)
    queue = find_project_queue(
        session,
        project_id,
        max_queued=settings.max_queued_jobs_per_project,
        max_running=settings.max_running_jobs_per_project,
    )
    inherited = start_models.find_inherited_options(
        session, request.start_model, request.hyperparameters
    )
    method = body.method_type
    failure = file_checks.find_failure(method, request.training, request.validation, request.test)
    failure = failure or start_models.find_unknown_label(
        session, request.start_model, method, request.training
    )
    return CheckedJob(
        request,
        inherited,
        failure,
        QueuePlace(
            queued_jobs=queue.queued,
            max_queued_jobs=queue.max_queued or None,
            running_jobs=queue.running,
            max_running_jobs=queue.max_running or None,
            has_room=queue.has_queue_room,
            is_next_in_project=not queue.queued and queue.may_start,
        ),
    )
