"""Database of one CLI command: the configured one, the running stack's, or a temporary server."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.db.migrate import upgrade
from app.local.ballast import Ballast
from app.local.home import Home, check_exists
from app.local.postgres import prepare_postgres
from app.local.supervisor import SignalCounter, Supervisor
from app.settings import Settings


@contextmanager
def open_database(
    settings: Settings, *, migrate: bool = True, create: bool = False
) -> Iterator[str]:
    """Yield the URL of the database, starting the embedded one for the block if it is not running.

    A server that is started here is migrated unless `migrate` is false. Only with `create`, for
    commands that prepare a new service, may LUTHIER_HOME be a new folder.

    Raises NoService, AlreadyRunning, HomeUnusable, EmbeddedUnavailable, StartFailed or
    ShutdownRequested.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    if not create:
        check_exists(settings.home)
    home = Home(settings.home)
    running = home.running_stack()
    if running is not None:
        yield running.database_url
        return
    with home.lock(), SignalCounter() as signals:
        home.kill_leftovers()
        # Nothing starts on a full disk.
        Ballast(settings.home, echo=lambda _: None).keep()
        supervisor = Supervisor(signals, echo=lambda _: None, on_pids_changed=home.record_processes)
        # The command may restore a backup of an older version.
        home.forget_schema()
        try:
            spec, url = prepare_postgres(settings.home)
            supervisor.start(spec)
            supervisor.wait_until_ready(spec.name)
            if migrate:
                upgrade(url)
            yield url
        finally:
            supervisor.stop(list(supervisor.processes))
            home.clear_records()
