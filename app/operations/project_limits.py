"""Limits of a project with their present use, and how long what it stores is kept."""

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import ExportState, ModelExport, Project
from app.files import quota
from app.files.intake import BATCH_RETENTION_SECONDS
from app.files.uploads import UPLOAD_LIFETIME
from app.http.rate_limits import RateLimitStatus
from app.jobs.checkpoints import MAX_SERVABLE_CHECKPOINTS
from app.jobs.project_queue import find_project_queue
from app.monitoring.traffic import HOURLY_COUNTS_RETENTION, PREDICTIONS_RETENTION
from app.operations.limit_schemas import (
    Limit,
    LimitScope,
    LimitUnit,
    Retention,
    RetentionStart,
)
from app.settings import Settings

DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
ASK_OPERATOR = "or ask the operator to raise the limit."


def list_rate_limits(settings: Settings, status: RateLimitStatus) -> Iterator[Limit]:
    """Limits of the key that asks. `status` is the present state of its buckets."""
    used = status.limit.requests - status.remaining_requests
    advice = f"Requests get 429 until a part of the minute is over; send fewer, {ASK_OPERATOR}"
    yield Limit(
        name="requests_per_minute",
        scope=LimitScope.KEY,
        unit=LimitUnit.REQUESTS,
        limit=status.limit.requests,
        used=max(0, round(used)),
        advice=advice,
    )
    yield Limit(
        name="bytes_per_minute",
        scope=LimitScope.KEY,
        unit=LimitUnit.BYTES,
        limit=status.limit.bytes,
        used=max(0, round(status.limit.bytes - status.remaining_bytes)),
        advice=advice,
    )
    yield Limit(
        name="concurrent_requests",
        scope=LimitScope.KEY,
        unit=LimitUnit.REQUESTS,
        limit=settings.max_concurrent_requests_per_key,
        used=None,
        advice="Counted by each API process. Requests beyond it get 429; send fewer at a time.",
    )


def list_quotas(session: Session, settings: Settings, project_id: str) -> Iterator[Limit]:
    """Limits of the project and of single jobs and files."""
    project = session.get_one(Project, project_id)
    queue = find_project_queue(
        session,
        project_id,
        max_queued=settings.max_queued_jobs_per_project,
        max_running=settings.max_running_jobs_per_project,
    )
    yield _limit(
        "running_jobs",
        LimitUnit.JOBS,
        queue.max_running,
        queue.running,
        "More jobs wait in the queue until one of the project's has ended.",
    )
    yield _limit(
        "queued_jobs",
        LimitUnit.JOBS,
        queue.max_queued,
        queue.queued,
        f"New jobs get 429; wait until one has started, cancel one, {ASK_OPERATOR}",
    )
    usage = quota.get_usage(session, project_id)
    max_bytes, max_files = quota.get_limits(session, project_id, settings)
    yield _limit(
        "stored_bytes",
        LimitUnit.BYTES,
        max_bytes,
        usage.bytes,
        f"Uploads get 400; delete files or models, {ASK_OPERATOR}",
    )
    yield _limit(
        "stored_files",
        LimitUnit.FILES,
        max_files,
        usage.files,
        f"Uploads get 400; delete files, {ASK_OPERATOR}",
    )
    uploads = project.max_open_uploads
    yield _limit(
        "open_uploads",
        LimitUnit.UPLOADS,
        settings.max_open_uploads_per_project if uploads is None else uploads,
        quota.count_open_uploads(session, project_id),
        f"New uploads in parts get 429; complete or cancel one, {ASK_OPERATOR}",
    )
    yield _limit(
        "export_bytes",
        LimitUnit.BYTES,
        settings.max_export_bytes_per_project,
        _measure_exports(session, project_id),
        "A new archive of a model replaces those that were used longest ago.",
    )
    for name, unit, limit, advice in (
        (
            "tokens_per_job",
            LimitUnit.TOKENS,
            settings.max_job_tokens,
            f"Longer jobs get 400 or fail; use a smaller file or fewer epochs, {ASK_OPERATOR}",
        ),
        (
            "hours_per_job",
            LimitUnit.HOURS,
            settings.max_job_hours,
            f"A job that takes longer fails, and its last checkpoint stays a model; {ASK_OPERATOR}",
        ),
        (
            "bytes_per_file",
            LimitUnit.BYTES,
            settings.max_file_bytes,
            "Larger files get 413; upload them in parts.",
        ),
        (
            "bytes_per_upload",
            LimitUnit.BYTES,
            settings.max_upload_bytes,
            f"Larger uploads get 400; split the file, {ASK_OPERATOR}",
        ),
    ):
        yield _limit(name, unit, limit, None, advice, LimitScope.ITEM)


def list_retention(settings: Settings) -> Iterator[Retention]:
    """Kinds of stored things and the times after which they are deleted, the usual ones first."""
    start = RetentionStart
    owner = "until their owner deletes them"
    yield _keep("files", None, start.CREATED, f"until their `expires_after`, else {owner}")
    yield _keep(
        "batch_files",
        BATCH_RETENTION_SECONDS,
        start.CREATED,
        "input, results and errors; another time by `expires_after`",
    )
    lifetime = UPLOAD_LIFETIME.total_seconds()
    yield _keep("parts_of_unfinished_uploads", lifetime, start.CREATED)
    yield _keep(
        "models",
        None,
        start.CREATED,
        f"{owner}; a job keeps the checkpoints of its last {MAX_SERVABLE_CHECKPOINTS} epochs",
    )
    yield _keep(
        "exports",
        settings.export_retention_hours * HOUR_SECONDS,
        start.LAST_USED,
        "or earlier for newer ones; they are made again when somebody asks",
    )
    yield _days(
        "jobs",
        settings.job_retention_days,
        start.ENDED,
        "those with a model stay with it; events, metrics and result files are deleted with them",
    )
    yield _days("events_of_jobs", settings.job_event_retention_days, start.ENDED, "with the job")
    stored_days = settings.stored_completion_retention_days
    yield _days("responses", stored_days, start.CREATED)
    yield _days("stored_chat_completions", stored_days, start.CREATED)
    yield _days("conversations", settings.conversation_retention_days, start.LAST_CHANGED)
    yield _keep("predictions", PREDICTIONS_RETENTION.total_seconds(), start.CREATED)
    yield _keep(
        "hourly_counts_of_models",
        HOURLY_COUNTS_RETENTION.total_seconds(),
        start.CREATED,
        "or until the model is deleted",
    )
    yield _days(
        "traces_of_deleted_files_and_models",
        settings.deleted_row_retention_days,
        start.DELETED,
        "without names and texts, which are deleted at once",
    )
    archived_days = settings.archived_project_retention_days
    yield _days("contents_of_archived_projects", archived_days, start.ARCHIVED)
    yield _days("audit_log", settings.audit_log_retention_days, start.CREATED)


def _limit(
    name: str,
    unit: LimitUnit,
    limit: float,
    used: float | None,
    advice: str,
    scope: LimitScope = LimitScope.PROJECT,
) -> Limit:
    """A limit of the settings, where 0 is none."""
    return Limit(name=name, scope=scope, unit=unit, limit=limit or None, used=used, advice=advice)


def _keep(
    name: str, seconds: float | None, since: RetentionStart, exception: str | None = None
) -> Retention:
    return Retention(name=name, seconds=seconds, since=since, exception=exception)


def _days(name: str, days: float, since: RetentionStart, exception: str | None = None) -> Retention:
    """A retention of the settings, where 0 is none."""
    return _keep(name, days * DAY_SECONDS or None, since, exception)


def _measure_exports(session: Session, project_id: str) -> int:
    ready = select(func.coalesce(func.sum(ModelExport.bytes), 0)).where(
        ModelExport.project_id == project_id, ModelExport.state == ExportState.READY
    )
    return int(session.scalar(ready) or 0)
