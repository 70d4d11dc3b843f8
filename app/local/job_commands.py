"""The `luthier jobs` commands: see and stop the jobs of all projects, as the operator."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from app.db.session import one_off_transaction
from app.db.tables import Job, JobState
from app.jobs import lifecycle, overview
from app.jobs.lifecycle import Actor
from app.jobs.overview import JobOverview
from app.local.database import open_database
from app.settings import Settings

JobId = Annotated[str, typer.Argument(help="Job id, `ftjob-…`, of any project.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

jobs_app = typer.Typer(no_args_is_help=True, help="See and stop the jobs of all projects.")


@jobs_app.command("list")
def list_command(
    project_id: Annotated[
        str | None, typer.Option("--project", help="Only jobs of this project, `proj_…`.")
    ] = None,
    states: Annotated[
        list[JobState] | None,
        typer.Option(
            "--state", help="Only jobs in this state; may be repeated. All unfinished by default."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most jobs to print.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first: id, state, progress, project, model, and why a job waits."""
    settings = Settings()
    with open_database(settings) as url, one_off_transaction(url) as session:
        jobs = overview.list_jobs(
            session,
            project_id=project_id,
            job_states=states or (),
            limit=limit,
            max_running=settings.max_running_jobs_per_project,
            heartbeat_seconds=settings.heartbeat_interval_seconds,
        )
    if as_json:
        typer.echo(json.dumps([_to_json(job) for job in jobs], indent=2))
        return
    for job in jobs:
        typer.echo(_format_line(job))


@jobs_app.command("show")
def show_command(job_id: JobId, as_json: AsJson = False) -> None:
    """Show one job."""
    settings = Settings()
    with open_database(settings) as url, one_off_transaction(url) as session:
        job = overview.get(
            session,
            job_id,
            max_running=settings.max_running_jobs_per_project,
            heartbeat_seconds=settings.heartbeat_interval_seconds,
        )
    values = _to_json(job)
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        typer.echo(f"{name}: {'-' if value is None else value}")


@jobs_app.command("cancel")
def cancel_command(job_id: JobId) -> None:
    """Cancel a job that has not ended. Its servable checkpoints stay."""
    with _changed_job(job_id, lifecycle.cancel) as job:
        typer.echo(f"{job.id}: {job.state}")


@jobs_app.command("pause")
def pause_command(job_id: JobId) -> None:
    """Pause a running or queued job; a running one stops at a checkpoint. Its owner can resume it.

    Cancel it, or limit its project with `luthier limits`, to keep it from running.
    """
    with _changed_job(job_id, lifecycle.pause) as job:
        typer.echo(f"{job.id}: {job.state}")


@jobs_app.command("resume")
def resume_command(job_id: JobId) -> None:
    """Queue a paused job, to continue from its last checkpoint."""
    with _changed_job(job_id, lifecycle.resume) as job:
        typer.echo(f"{job.id}: {job.state}")


@contextmanager
def _changed_job(job_id: str, change: Callable[..., Job]) -> Iterator[Job]:
    """Change a job's state as the operator, and yield it after the commit."""
    with open_database(Settings()) as url:
        with one_off_transaction(url) as session:
            project_id = overview.find_project_id(session, job_id)
            job = change(session, project_id, job_id, by=Actor.OPERATOR)
        yield job


def _to_json(job: JobOverview) -> dict[str, Any]:
    values = dataclasses.asdict(job)
    for name in ("created_at", "started_at", "finished_at"):
        values[name] = None if values[name] is None else values[name].isoformat()
    return {**values, "trained_seconds": round(job.trained_seconds, 1)}


def _format_line(job: JobOverview) -> str:
    progress = f"step {job.step}/{'?' if job.total_steps is None else job.total_steps}"
    project = f"{job.project_id} ({job.project_name})"
    return "  ".join((job.id, job.state, progress, project, job.model, job.reason or "")).rstrip()
