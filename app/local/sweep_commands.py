"""The `luthier sweeps` commands: see and stop the sweeps of all projects, as the operator."""

import json
from collections import Counter
from typing import Annotated, Any

import typer

from app.db.session import one_off_transaction
from app.db.tables import Sweep, SweepTrial
from app.jobs.lifecycle import Actor
from app.local.database import open_database
from app.settings import Settings
from app.sweeps import lifecycle, overview, serializers
from app.sweeps import service as sweeps

SweepId = Annotated[str, typer.Argument(help="Sweep id, `ftsweep-…`, of any project.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

sweeps_app = typer.Typer(no_args_is_help=True, help="See and stop the sweeps of all projects.")


@sweeps_app.command("list")
def list_command(
    project_id: Annotated[
        str | None, typer.Option("--project", help="Only sweeps of this project, `proj_…`.")
    ] = None,
    all_states: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most sweeps to print.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List running sweeps, newest first: id, state, trials, project, model, and the best so far."""
    with open_database(Settings()) as url, one_off_transaction(url) as session:
        rows = overview.list_sweeps(
            session, project_id=project_id, only_running=not all_states, limit=limit
        )
        trials = sweeps.list_trials(session, rows)
    if as_json:
        typer.echo(json.dumps([_to_json(row, trials[row.id]) for row in rows], indent=2))
        return
    for row in rows:
        typer.echo(_format_line(row, trials[row.id]))


@sweeps_app.command("show")
def show_command(sweep_id: SweepId) -> None:
    """Show one sweep with its trials, as JSON."""
    with open_database(Settings()) as url, one_off_transaction(url) as session:
        row = overview.get(session, sweep_id)
        trials = sweeps.list_trials(session, [row])[row.id]
    typer.echo(json.dumps(_to_json(row, trials), indent=2))


@sweeps_app.command("cancel")
def cancel_command(sweep_id: SweepId) -> None:
    """Cancel a running sweep and its unfinished jobs. The models of finished ones stay."""
    with open_database(Settings()) as url, one_off_transaction(url) as session:
        row = overview.get(session, sweep_id)
        state = lifecycle.cancel(session, row.project_id, sweep_id, by=Actor.OPERATOR).state
    typer.echo(f"{sweep_id}: {state}")


def _to_json(row: Sweep, trials: list[SweepTrial]) -> dict[str, Any]:
    shown = serializers.serialize_sweep(row, trials).model_dump(mode="json")
    return {"project_id": row.project_id, **shown}


def _format_line(row: Sweep, trials: list[SweepTrial]) -> str:
    shown = serializers.serialize_sweep(row, trials)
    counts = Counter(str(trial.state) for trial in trials)
    numbers = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    model, reason = row.job.get("model", ""), shown.why or row.error_message or ""
    return "  ".join((row.id, row.state, numbers, row.project_id, model, reason)).rstrip()
