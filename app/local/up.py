"""`luthier up`: start all processes in dependency order and supervise them until a signal."""

import secrets
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.catalog import Catalog
from app.db.client_name import newest_revision
from app.local import ports, process_specs
from app.local.ballast import Ballast
from app.local.home import Home, display_path
from app.local.postgres import prepare_postgres
from app.local.supervisor import POLL_INTERVAL_SECONDS, ShutdownRequested, SignalCounter, Supervisor
from app.local.valkey import prepare_valkey
from app.settings import Settings

Echo = Callable[[str], None]


class PortTaken(Exception):
    """The API's port is not free; the message names the process that holds it and what to do."""


def up(settings: Settings, *, demo: bool, echo: Echo) -> None:
    """Run everything until a signal asks for shutdown.

    Raises CatalogError, AlreadyRunning, HomeUnusable, PortTaken, EmbeddedUnavailable or
    StartFailed, each with a message for the operator, after everything started has been stopped.
    """
    # A broken catalog would make every process fail, one after the other.
    catalog = Catalog.load(settings.models_file)
    home = Home(settings.home)
    with home.lock(), SignalCounter() as signals, ports.PortReservations() as reserved:
        for name in home.kill_leftovers():
            echo(f"Killed {name}, left over from a run that was killed.")
        check_port(settings)
        ballast = Ballast(settings.home, echo) if settings.database_url is None else None
        if ballast is not None:
            # First: nothing starts on a full disk.
            ballast.keep()
        supervisor = Supervisor(signals, echo, home.record_processes)
        try:
            serving = start(settings, catalog, home, supervisor, reserved, echo)
            if demo:
                supervisor.start(process_specs.demo_spec(serving))
            while True:
                signals.raise_if_requested()
                supervisor.poll()
                if ballast is not None:
                    ballast.keep()
                time.sleep(POLL_INTERVAL_SECONDS)
        except ShutdownRequested:
            echo("\nStopping (Ctrl-C again to hurry) …")
        finally:
            supervisor.stop(*process_specs.stop_order(supervisor.processes))
            home.clear_records()
        echo("Stopped.")


def start(
    settings: Settings,
    catalog: Catalog,
    home: Home,
    supervisor: Supervisor,
    reserved: ports.PortReservations,
    echo: Echo,
) -> Settings:
    """Start all processes and wait until the API serves requests.

    Returns the settings that they run with.
    """
    settings = with_managed_engines(_with_engine_endpoint(settings, reserved), catalog, reserved)
    is_first = not (settings.home / "cache").exists()
    # First, because it takes longest to load and depends on nothing else.
    supervisor.start(process_specs.engine_spec(settings))
    if is_first:
        echo("The engine converts the base model. This takes half a minute, once.")
    is_shared = settings.database_url is not None
    settings = _with_embedded_servers(settings, supervisor)
    if not is_shared and home.has_schema(newest_revision()):
        # It connects when it is asked something, and the database needs no migration.
        supervisor.start(process_specs.api_spec(settings))
        # On two cores they are ready sooner if nothing else is done meanwhile.
        supervisor.wait_until_ready("api", "engine")
        _record_stack(home, settings)
    assert settings.database_url is not None
    # SQLAlchemy and Alembic take long to import: the engine, and mostly the API, start meanwhile.
    from app.local import database_setup

    supervisor.wait_until_ready(
        *({"postgres", "valkey"} & supervisor.processes.keys()), timeout_seconds=60
    )
    database_setup.migrate(settings.database_url, contract=not is_shared)
    if not is_shared:
        home.record_schema(newest_revision())
    _record_stack(home, settings)
    supervisor.signals.raise_if_requested()
    database_setup.ensure_key_file(settings, echo)
    database_setup.ensure_admin_key_file(settings, echo)
    if "api" not in supervisor.processes:
        supervisor.start(process_specs.api_spec(settings))
    supervisor.wait_until_ready("api", "engine")
    # Not waited for: they take minutes, in which the other models are served.
    _start_managed_engines(settings, catalog, supervisor)
    # Last: on two cores, nothing else would make progress while they load.
    supervisor.start(process_specs.trainer_spec(settings))
    supervisor.start(process_specs.io_spec(settings))
    logs = display_path(settings.home / "logs")
    echo(f"Serving at {process_specs.api_url(settings)} until Ctrl-C   (logs: {logs})")
    echo(f"Metrics: {', '.join(list_metrics_urls(settings))}")
    if settings.console:
        link = database_setup.create_console_link(settings)
        echo(f"Console, for one log-in: {link}")
    return settings


def _record_stack(home: Home, settings: Settings) -> None:
    assert settings.database_url is not None
    assert settings.redis_url is not None
    home.record_stack(process_specs.api_url(settings), settings.database_url, settings.redis_url)


def list_metrics_urls(settings: Settings) -> list[str]:
    """List where the API, the engine and the engines of single models have their metrics."""
    urls = [process_specs.api_url(settings), settings.engine_url]
    return [f"{url}/metrics" for url in (*urls, *settings.managed_engines.values())]


def check_port(settings: Settings) -> None:
    """Raise PortTaken if the API could not listen."""
    conflict = ports.describe_port_conflict(settings.port, settings.host)
    if conflict is not None:
        raise PortTaken(
            f"Port {settings.port} {conflict}. Choose another: PORT={settings.port + 1} make up"
        )


def _with_engine_endpoint(settings: Settings, reserved: ports.PortReservations) -> Settings:
    """Settings with an engine URL on a free port, the configured one if possible, and an API key.

    The key is needed because every user of this machine can reach the port.
    """
    configured_port = urlsplit(settings.engine_url).port or 8100
    port = reserved.reserve(configured_port, besides=[settings.port])
    update = {
        "engine_url": f"http://127.0.0.1:{port}",
        "engine_api_key": settings.engine_api_key or SecretStr(secrets.token_urlsafe(32)),
    }
    return settings.model_copy(update=update)


def with_managed_engines(
    settings: Settings, catalog: Catalog, reserved: ports.PortReservations
) -> Settings:
    """Settings with the URL of each engine that Luthier starts, on free ports."""
    urls: dict[str, str] = {}
    taken = [port for port in (settings.port, urlsplit(settings.engine_url).port) if port]
    for model in catalog:
        if model.managed_engine is not None:
            port = reserved.reserve(model.engine_options.port, besides=taken)
            urls[model.id] = f"http://127.0.0.1:{port}"
    return settings.model_copy(update={"managed_engines": urls})


def _start_managed_engines(settings: Settings, catalog: Catalog, supervisor: Supervisor) -> None:
    for model in catalog:
        if model.id in settings.managed_engines:
            url = settings.managed_engines[model.id]
            supervisor.start(process_specs.managed_engine_spec(settings, model, url))


def _with_embedded_servers(settings: Settings, supervisor: Supervisor) -> Settings:
    """Start Postgres and Valkey unless external ones are configured; returns settings with URLs."""
    update: dict[str, str] = {}
    for field, prepare in (("database_url", prepare_postgres), ("redis_url", prepare_valkey)):
        supervisor.signals.raise_if_requested()
        if getattr(settings, field) is None:
            spec, update[field] = prepare(settings.home)
            supervisor.start(spec)
    return settings.model_copy(update=update)
