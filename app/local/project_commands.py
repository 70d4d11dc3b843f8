"""The `luthier projects` commands: see what projects hold, as the operator."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from app.db.session import one_off_transaction
from app.local.database import open_database
from app.operations import project_holdings
from app.operations.project_holdings import ProjectHoldings
from app.settings import Settings

projects_app = typer.Typer(no_args_is_help=True, help="See what projects hold.")


@projects_app.callback()
def _callback() -> None:
    """Keep the name of the only command, which Typer would leave out."""


@projects_app.command("usage")
def usage_command(
    project_id: Annotated[
        str | None,
        typer.Argument(help="Project id, `proj_…`; all that are not archived by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what a project holds: files, models, stored texts and so on, and its limits."""
    settings = Settings()
    with open_database(settings) as url, one_off_transaction(url) as session:
        found = project_holdings.list_holdings(session, settings, project_id)
    if project_id is not None and not found:
        typer.echo(f"No such project: {project_id}.", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps([_to_json(each) for each in found], indent=2))
        return
    typer.echo("\n\n".join("\n".join(_format(each)) for each in found))


def _format(found: ProjectHoldings) -> Iterator[str]:
    archived = ", archived" if found.project.archived_at is not None else ""
    name = f"{found.project.name} of {found.organization_slug}"
    yield f"{found.project.id} ({name}{archived})"
    for holding in found.holdings:
        size = "" if holding.bytes is None else f"{holding.bytes:>18,} bytes"
        yield f"  {holding.kind:<32}{holding.count:>10,}{size}"
    yield f"  {'storage quota':<42}{_of_limit(found.used.bytes, found.max_bytes)} bytes"
    yield f"  {'files quota':<42}{_of_limit(found.used.files, found.max_files)} files"


def _of_limit(used: int, limit: int) -> str:
    return f"{used:>18,} of {f'{limit:,}' if limit else 'unlimited'}"


def _to_json(found: ProjectHoldings) -> dict[str, Any]:
    return {
        "id": found.project.id,
        "name": found.project.name,
        "organization": found.organization_slug,
        "archived": found.project.archived_at is not None,
        "holdings": [
            {"kind": each.kind, "count": each.count, "bytes": each.bytes} for each in found.holdings
        ],
        "used_bytes": found.used.bytes,
        "max_bytes": found.max_bytes or None,
        "used_files": found.used.files,
        "max_files": found.max_files or None,
    }
