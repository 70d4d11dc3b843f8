"""The `luthier` command: run and administer the service."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from app import api_process
from app.backup.errors import BackupError
from app.base_models.source import SourceUnusable
from app.catalog import CatalogError
from app.db.deletion_hold import HoldUnavailable
from app.db.migrate import DowntimeRequired, upgrade
from app.db.session import (
    DatabaseUnavailable,
    create_database_engine,
    one_off_transaction,
    session_maker,
)
from app.db.tables import KeyMixin
from app.errors import ApiError
from app.files import quota
from app.jobs import scheduling
from app.local import (
    backup_commands,
    console_link,
    data_commands,
    demo,
    doctor,
    eval_commands,
    job_commands,
    model_commands,
    project_commands,
    sweep_commands,
)
from app.local.api_client import ApiFailed
from app.local.database import open_database
from app.local.embedded import EmbeddedUnavailable
from app.local.home import AlreadyRunning, HomeUnusable, NoService
from app.local.operator_commands import get_user_name, record_command
from app.local.supervisor import ShutdownRequested, StartFailed
from app.local.up import PortTaken, up
from app.operations import storage_identity
from app.organization import admin_keys, api_keys, operator_changes
from app.process_hardening import forbid_inspection
from app.settings import Settings
from app.storage import StorageUnavailable, open_store

# Problems of the machine or its configuration; each message is a sentence for the operator.
USER_ERRORS = (
    AlreadyRunning,
    ApiError,
    ApiFailed,
    BackupError,
    StartFailed,
    CatalogError,
    demo.DemoFailed,
    DowntimeRequired,
    EmbeddedUnavailable,
    HoldUnavailable,
    HomeUnusable,
    NoService,
    PortTaken,
    SourceUnusable,
    StorageUnavailable,
)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
keys_app = typer.Typer(no_args_is_help=True, help="Manage API keys.")
storage_app = typer.Typer(no_args_is_help=True, help="Manage the storage of files and models.")
app.add_typer(keys_app, name="keys")
app.add_typer(storage_app, name="storage")
app.add_typer(data_commands.data_app, name="data")
backup_commands.register(app)
app.add_typer(eval_commands.evals_app, name="evals")
app.add_typer(job_commands.jobs_app, name="jobs")
app.add_typer(model_commands.models_app, name="models")
app.add_typer(project_commands.projects_app, name="projects")
app.add_typer(sweep_commands.sweeps_app, name="sweeps")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command. A user error prints a sentence and exits with 1; Ctrl-C exits with 130."""
    try:
        with record_command(sys.argv[1:] if arguments is None else arguments):
            app(args=arguments)
    except BaseException as error:
        end(error)
    raise SystemExit(0)


def end(error: BaseException) -> NoReturn:
    """End the command as an error demands, which is raised again unless it is a user's."""
    if isinstance(error, DatabaseUnavailable):
        echo_error(f"The database cannot be used; see DATABASE_URL. {error}")
        raise SystemExit(1) from error
    if isinstance(error, USER_ERRORS):
        echo_error(str(error))
        raise SystemExit(1) from error
    if isinstance(error, ValidationError):
        echo_error(doctor.explain_settings_error(error))
        raise SystemExit(1) from error
    if isinstance(error, ShutdownRequested | KeyboardInterrupt):
        raise SystemExit(130) from None
    raise error


@app.command("up")
def up_command(
    run_demo: Annotated[
        bool, typer.Option("--demo", help="Then fine-tune the example and compare both models.")
    ] = False,
) -> None:
    """Start all processes and keep them running until Ctrl-C."""
    forbid_inspection()
    up(Settings(), demo=run_demo, echo=echo)


@app.command("demo")
def demo_command() -> None:
    """Fine-tune the example on a running Luthier and compare the base and the fine-tuned model."""
    demo.run(Settings(), Console())


@app.command("api")
def api_command() -> None:
    """Run only the API; DATABASE_URL, REDIS_URL and LUTHIER_ENGINE_URL configure the rest."""
    api_process.main()


@app.command("migrate")
def migrate_command(
    expand: Annotated[
        bool,
        typer.Option(
            "--expand",
            help="Additive changes only: processes of the previous version keep working. "
            "Changes nothing and fails if the upgrade needs downtime.",
        ),
    ] = False,
) -> None:
    """Migrate the database to this version's schema. Stop the previous version first.

    Use --expand to upgrade while it runs.
    """
    with open_database(Settings(), create=True) as url:
        upgrade(url, contract=not expand)
    if expand:
        echo("The schema has all this version needs; the previous version still works with it.")
    else:
        echo("The schema is up to date.")


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Name of the key, for display only.")] = "unnamed",
    project_id: Annotated[
        str | None, typer.Option("--project", help="Project of the key; the oldest one by default.")
    ] = None,
    admin: Annotated[
        bool,
        typer.Option(
            "--admin", help="Create an admin key, which manages projects and keys and nothing else."
        ),
    ] = False,
) -> None:
    """Create an API key and print it; it is not shown again."""
    settings = Settings()
    with open_database(settings, create=True) as url, one_off_transaction(url) as session:
        slug, user = settings.organization_slug, get_user_name()
        if admin:
            secret = operator_changes.create_admin_key(session, slug, name, user=user)
        else:
            secret = operator_changes.create_key(
                session, slug, name, project_id=project_id, user=user
            )
    echo(secret)


@keys_app.command("list")
def list_keys() -> None:
    """List all API keys: id, name, redacted value, project and timestamps."""
    with open_database(Settings()) as url, one_off_transaction(url) as session:
        for key in api_keys.list_all(session):
            echo("  ".join((key.id, key.name, key.redacted, key.project_id, *key_timestamps(key))))
        for admin in admin_keys.list_all(session):
            echo("  ".join((admin.id, admin.name, admin.redacted, "admin", *key_timestamps(admin))))


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="Id, as in `luthier keys list`.")],
) -> None:
    """Revoke an API key: the next request with it is rejected."""
    with open_database(Settings()) as url, one_off_transaction(url) as session:
        key = operator_changes.revoke_key(session, key_id, user=get_user_name())
    if key is None:
        echo_error(f"No such API key: {key_id}. See `luthier keys list`.")
        raise typer.Exit(1)
    echo(f"Revoked {key.id} ({key.name}, {key.redacted}).")


@app.command("console")
def console_command(
    project: Annotated[
        str | None,
        typer.Option(help="Project to work in; the oldest one if not given.", metavar="PROJECT_ID"),
    ] = None,
    end_sessions: Annotated[
        bool, typer.Option("--end-sessions", help="Log everybody out instead.")
    ] = False,
) -> None:
    """Print a link that logs in to the web console once, within an hour, as an admin."""
    settings = Settings()
    with open_database(settings) as url:
        if end_sessions:
            echo(f"Ended {console_link.end_sessions(url, settings)} sessions.")
        else:
            echo(console_link.create_link(url, settings, project))


@app.command("doctor")
def doctor_command() -> None:
    """Check this machine and say what to do about each problem."""
    findings = list(doctor.run_checks())
    for finding in findings:
        echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.part}: {finding.sentence}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command("limits")
def limits_command(
    project_id: Annotated[str, typer.Argument(help="Project id, `proj_…`.")],
    running: Annotated[
        int | None, typer.Option(min=0, help="Maximum of running jobs; 0 is no limit.")
    ] = None,
    queued: Annotated[
        int | None, typer.Option(min=0, help="Maximum of queued jobs; 0 is no limit.")
    ] = None,
    storage: Annotated[
        int | None, typer.Option(min=0, help="Maximum of stored bytes; 0 is no limit.")
    ] = None,
    files: Annotated[
        int | None, typer.Option(min=0, help="Maximum of stored files; 0 is no limit.")
    ] = None,
    uploads: Annotated[
        int | None, typer.Option(min=0, help="Maximum of unfinished uploads; 0 is no limit.")
    ] = None,
) -> None:
    """Show or set a project's limits of jobs and storage."""
    with open_database(Settings()) as url, one_off_transaction(url) as session:
        scheduling.set_limits(session, project_id, max_running=running, max_queued=queued)
        project = quota.set_limits(
            session, project_id, max_bytes=storage, max_files=files, max_uploads=uploads
        )
        if project is not None:
            operator_changes.record_limits(
                session,
                project,
                user=get_user_name(),
                max_running_jobs=running,
                max_queued_jobs=queued,
                max_storage_bytes=storage,
                max_files=files,
                max_open_uploads=uploads,
            )
    if project is None:
        echo_error(f"No such project: {project_id}.")
        raise typer.Exit(1)
    limits = {
        "running": project.max_running_jobs,
        "queued": project.max_queued_jobs,
        "bytes": project.max_storage_bytes,
        "files": project.max_files,
        "uploads": project.max_open_uploads,
    }
    texts = (
        f"{'default' if limit is None else limit or 'unlimited'} {name}"
        for name, limit in limits.items()
    )
    echo(f"{project.id}: {', '.join(texts)}")


@storage_app.command("adopt")
def adopt_storage() -> None:
    """Make the configured storage the one that belongs to the database, whatever it contains.

    For a storage that was lost and replaced, or moved without its marker. Restart the service then.
    """
    settings = Settings()
    with open_database(settings) as url:
        engine = create_database_engine(url, pool_size=1)
        marker = storage_identity.adopt(session_maker(engine), open_store(settings))
        engine.dispose()
    echo(f"The storage with the marker {marker} now belongs to this database.")


def key_timestamps(key: KeyMixin) -> Iterator[str]:
    """Lines with the times at which a key was created, last used, expires and was revoked."""
    yield f"created {format_time(key.created_at)}"
    yield f"last used {format_time(key.last_used_at)}"
    if key.expires_at is not None:
        yield f"expires {format_time(key.expires_at)}"
    if key.revoked_at is not None:
        yield f"revoked {format_time(key.revoked_at)}"


def format_time(time: datetime | None) -> str:
    """A timestamp in UTC, `2026-11-29 12:00 UTC`; `never` for None."""
    return "never" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def echo(text: str) -> None:
    """Print a line to standard output, without wrapping or colours."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def echo_error(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
