"""The `luthier models` commands: list the models, add a base model, export a fine-tuned one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.base_models.catalog_file import append_entry, render_entry
from app.base_models.check import check
from app.base_models.source import SourceUnusable, read_source
from app.catalog import Catalog
from app.db.session import (
    SessionMaker,
    create_database_engine,
    one_off_transaction,
    session_maker,
    transaction,
)
from app.db.tables import ExportFormat, ExportState, FineTunedModel, ModelExport
from app.errors import InvalidRequest, ModelNotFound
from app.exports import service
from app.exports.archive_names import archive_name
from app.local.database import open_database
from app.models import registry
from app.operations.export_waits import describe_wait
from app.operations.storage_identity import open_verified_store
from app.organization import bootstrap
from app.settings import Settings
from app.storage import StorageUnavailable

POLL_INTERVAL_SECONDS = 0.5
# After this, the command says what the export waits for.
LATE_SECONDS = 30

models_app = typer.Typer(help="List, add and export models.")


@models_app.callback(invoke_without_command=True)
def list_command(context: typer.Context) -> None:
    """List the base models of the catalog, the fine-tuned models, and their aliases."""
    if context.invoked_subcommand is not None:
        return
    settings = Settings()
    catalog = Catalog.load(settings.models_file)
    for base in catalog:
        aliases = f"  (also {', '.join(base.aliases)})" if base.aliases else ""
        typer.echo(f"{base.id}  {base.kind}, methods: {', '.join(base.methods) or 'none'}{aliases}")
    with open_database(settings, create=True) as url, one_off_transaction(url) as session:
        project = bootstrap.ensure_default_project(session, settings.organization_slug)
        for model in registry.list_(session, catalog, project.id):
            if model.is_fine_tuned and model.alias_of is not None:
                typer.echo(f"{model.name}  alias of {model.alias_of}")
            elif model.is_fine_tuned:
                typer.echo(f"{model.name}  created {model.created_at:%Y-%m-%d %H:%M} UTC")


@models_app.command("add")
def add_command(
    source: Annotated[str, typer.Argument(help="hf:OWNER/NAME, with @COMMIT, or path:/FOLDER.")],
    model_id: Annotated[
        str | None, typer.Option("--id", help="Name for clients; by default the repository's.")
    ] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check it and print the entry; write nothing.")
    ] = False,
) -> None:
    """Check a base model and add it to models.toml. Restart the service then."""
    settings = Settings()
    files = read_source(source, endpoint=settings.hub_endpoint, token=settings.hub_token)
    result = check(files)
    for problem in result.problems:
        typer.echo(f"BAD  {problem}")
    for note in result.notes:
        typer.echo(f"note {note}")
    if result.problems:
        raise SourceUnusable(f"{source} cannot be used as a base model.")
    name = model_id or source.rpartition("/")[2].partition("@")[0].lower()
    entry = render_entry(name, files, result)
    if is_dry_run:
        typer.echo(entry)
        return
    append_entry(settings.models_file, entry)
    typer.echo(f"Added {name} to {settings.models_file}. Restart the service to use it.")


@models_app.command("export")
def export_command(
    name: Annotated[str, typer.Argument(help="Name of a fine-tuned model of any project.")],
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="Layout of the exported model.")
    ] = ExportFormat.PEFT,
    output: Annotated[
        Path | None, typer.Option(help="Archive to write; named after the model by default.")
    ] = None,
) -> None:
    """Export a fine-tuned model as a tar archive. A running trainer converts it."""
    settings = Settings()
    path = output or Path(archive_name(name, format_))
    with open_database(settings) as url, _open_sessions(url) as sessions:
        export = _wait_until_ready(settings, sessions, name, format_)
        if export.storage_key is None:
            raise StorageUnavailable("The export was deleted meanwhile. Run the command again.")
        open_verified_store(settings, sessions).download(export.storage_key, path)
    typer.echo(f"{path}  {export.bytes} bytes, SHA-256 {export.sha256}")


@contextmanager
def _open_sessions(url: str) -> Iterator[SessionMaker]:
    engine = create_database_engine(url, pool_size=1)
    try:
        yield session_maker(engine)
    finally:
        engine.dispose()


def _wait_until_ready(
    settings: Settings, sessions: SessionMaker, name: str, format_: ExportFormat
) -> ModelExport:
    """Ask for the export until it is made. Raises ApiError."""
    catalog = Catalog.load(settings.models_file)
    started, printed = time.monotonic(), ""
    while True:
        is_late = time.monotonic() - started > LATE_SECONDS
        with transaction(sessions) as session:
            model = session.get(FineTunedModel, name)
            if model is None:
                raise ModelNotFound(name)
            export = service.request(session, catalog, model.project_id, name, format_)
            reason = (
                describe_wait(
                    session, export, heartbeat_seconds=settings.heartbeat_interval_seconds
                )
                if is_late
                else ""
            )
            session.expunge(export)
        if export.state == ExportState.READY:
            return export
        if export.state == ExportState.FAILED:
            raise InvalidRequest(export.error)
        if reason not in ("", printed):
            typer.echo(reason, err=True)
            printed = reason
        time.sleep(POLL_INTERVAL_SECONDS)
