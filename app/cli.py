"""`luthier`: the commands of whoever runs the service."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console

from app.auth import projects
from app.catalog import Catalog, CatalogError
from app.db.migrate import upgrade
from app.db.session import DatabaseUnavailable, one_off_transaction
from app.db.tables import KeyMixin
from app.errors import ApiError
from app.formats import MAX_ERRORS, DatasetValidator, render_report
from app.http.server_protocol import BoundedHttpProtocol
from app.jobs import scheduling
from app.local import demo, doctor
from app.local.database import database
from app.local.embedded import EmbeddedUnavailable
from app.local.home import AlreadyRunning, HomeUnusable
from app.local.supervisor import CannotStart, Stopped
from app.local.up import PortTaken, up
from app.models import registry
from app.organization import admin_keys, api_keys
from app.settings import Settings

READ_BYTES = 2**20
# What can be wrong with the machine or the operator's choices; each carries a sentence.
TROUBLES = (
    AlreadyRunning,
    ApiError,
    CannotStart,
    CatalogError,
    demo.DemoFailed,
    EmbeddedUnavailable,
    HomeUnusable,
    PortTaken,
)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
keys_app = typer.Typer(no_args_is_help=True, help="API keys.")
data_app = typer.Typer(no_args_is_help=True, help="Training files.")
app.add_typer(keys_app, name="keys")
app.add_typer(data_app, name="data")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: troubles end in a sentence and exit code 1, a Ctrl-C in code 130."""
    try:
        app(args=arguments)
    except DatabaseUnavailable as error:
        say_trouble(f"The database cannot be used; see DATABASE_URL. {error}")
        raise SystemExit(1) from error
    except TROUBLES as error:
        say_trouble(str(error))
        raise SystemExit(1) from error
    except ValidationError as error:
        say_trouble(doctor.explain(error))
        raise SystemExit(1) from error
    except (Stopped, KeyboardInterrupt):
        raise SystemExit(130) from None
    raise SystemExit(0)


@app.command("up")
def up_command(
    show: Annotated[
        bool, typer.Option("--demo", help="Fine-tune the example and ask both models.")
    ] = False,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    up(Settings(), demo=show, say=say)


@app.command("demo")
def demo_command() -> None:
    """Fine-tune the example on a running Luthier, and ask the base model and the tuned one."""
    demo.run(Settings(), Console())


@app.command("api")
def api_command() -> None:
    """Run the API alone; DATABASE_URL, REDIS_URL and LUTHIER_ENGINE_URL say where the rest is."""
    settings = Settings()
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        http=BoundedHttpProtocol,
        # Whatever asks for a WebSocket would otherwise go past the guard.
        ws="none",
        # The app's own logging stays: one JSON object a line, no query strings.
        log_config=None,
        access_log=False,
        server_header=False,
        # The client's address is for the log; a header that anybody can send is no address.
        proxy_headers=False,
        backlog=2048,
        # Longer than balancers keep a silent connection: one that they reuse in the moment it is
        # closed here would be a 502 there.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )


@app.command("migrate")
def migrate_command(
    expand: Annotated[
        bool,
        typer.Option(
            "--expand", help="Only add, while processes of the version before are running."
        ),
    ] = False,
) -> None:
    """Bring the database to the newest schema."""
    with database(Settings()) as url:
        upgrade(url, contract=not expand)
    if expand:
        say("The database has what this version needs, and still all that the last one needs.")
    else:
        say("The database is at the newest schema.")


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for; shown, never used.")] = "unnamed",
    project_id: Annotated[
        str | None, typer.Option("--project", help="Whose key; the oldest project's if not given.")
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="A key that manages projects and opens nothing else.")
    ] = False,
) -> None:
    """Make an API key and show it, once."""
    settings = Settings()
    with database(settings) as url, one_off_transaction(url) as session:
        organization = api_keys.ensure_organization(session, settings.organization_slug)
        if admin:
            _, secret = admin_keys.create(session, organization.id, name)
        else:
            project = (
                api_keys.ensure_default_project(session, settings.organization_slug)
                if project_id is None
                else projects.get_active(session, organization.id, project_id)
            )
            _, secret = api_keys.create(session, project.id, name)
    say(secret)


@keys_app.command("list")
def list_keys() -> None:
    """All API keys: id, name, what can be shown of each, whose it is, and when it was made, used,
    revoked."""
    with database(Settings()) as url, one_off_transaction(url) as session:
        for key in api_keys.list_all(session):
            say("  ".join((key.id, key.name, key.redacted, key.project_id, *times(key))))
        for admin in admin_keys.list_all(session):
            say("  ".join((admin.id, admin.name, admin.redacted, "admin", *times(admin))))


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="As `luthier keys list` shows it.")],
) -> None:
    """End an API key: the next request with it is refused."""
    with database(Settings()) as url, one_off_transaction(url) as session:
        key = api_keys.revoke(session, key_id) or admin_keys.revoke(session, key_id)
    if key is None:
        say_trouble(f"There is no API key {key_id}; see `luthier keys list`.")
        raise typer.Exit(1)
    say(f"Revoked {key.id} ({key.name}, {key.redacted}).")


@app.command("models")
def models_command() -> None:
    """The catalogue's base models, then what has been tuned."""
    settings = Settings()
    catalog = Catalog.load(settings.models_file)
    for base in catalog:
        also = f"  (also {', '.join(base.aliases)})" if base.aliases else ""
        say(f"{base.id}  {base.kind}, methods: {', '.join(base.methods) or 'none'}{also}")
    with database(settings) as url, one_off_transaction(url) as session:
        project = api_keys.ensure_default_project(session, settings.organization_slug)
        for model in registry.list_(session, catalog, project.id):
            if model.is_fine_tuned:
                say(f"{model.name}  of {moment(model.created_at)}")


@app.command("doctor")
def doctor_command() -> None:
    """Say what is wrong on this machine, and what to do about it."""
    findings = list(doctor.examine())
    for finding in findings:
        say(f"{'ok  ' if finding.ok else 'BAD '} {finding.part}: {finding.sentence}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command("limits")
def limits_command(
    project_id: Annotated[str, typer.Argument(help="As the API's answers and log show it.")],
    running: Annotated[
        int | None, typer.Option(min=0, help="Jobs that train at a time; 0 is no limit.")
    ] = None,
    queued: Annotated[
        int | None, typer.Option(min=0, help="Jobs that wait at a time; 0 is no limit.")
    ] = None,
) -> None:
    """Show a project's limits on jobs, or give it limits of its own."""
    with database(Settings()) as url, one_off_transaction(url) as session:
        project = scheduling.set_limits(session, project_id, max_running=running, max_queued=queued)
    if project is None:
        say_trouble(f"There is no project {project_id}.")
        raise typer.Exit(1)
    most = (project.max_running_jobs, project.max_queued_jobs)
    shown = ["the setting's" if limit is None else limit or "any number" for limit in most]
    say(f"{project.id}: {shown[0]} running, {shown[1]} queued")


@data_app.command("check")
def check_data(
    file: Annotated[Path, typer.Argument(help="A JSONL file.")],
    every: Annotated[
        bool, typer.Option("--all", help="List the faults one by one, not by kind.")
    ] = False,
) -> None:
    """Judge a training file as an upload would."""
    judge = DatasetValidator(max_errors=MAX_ERRORS)
    try:
        with file.open("rb") as data:
            while chunk := data.read(READ_BYTES):
                judge.feed(chunk)
    except OSError as error:
        say_trouble(f"{file} cannot be read: {error.strerror}")
        raise typer.Exit(1) from error
    verdict = judge.finish()
    for line in render_report(verdict, all_errors=every):
        say(line)
    raise typer.Exit(1 if verdict.error_count else 0)


def times(key: KeyMixin) -> Iterator[str]:
    """When a key was made and used, and when it ends or has ended."""
    yield f"created {moment(key.created_at)}"
    yield f"last used {moment(key.last_used_at)}"
    if key.expires_at is not None:
        yield f"expires {moment(key.expires_at)}"
    if key.revoked_at is not None:
        yield f"revoked {moment(key.revoked_at)}"


def moment(when: datetime | None) -> str:
    """A moment as lists show it; the database gives it in a time zone of its own."""
    return "never" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def say(text: str) -> None:
    """A line to standard output, whole: no wrapping, no colours that a pipe would keep."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_trouble(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
