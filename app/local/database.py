"""Database access for one CLI command: external, of the running stack, or embedded."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.db.migrate import upgrade
from app.local.home import Home
from app.local.postgres import postgres_spec
from app.local.supervisor import SignalCounter, Supervisor
from app.settings import Settings


@contextmanager
def open_database(settings: Settings) -> Iterator[str]:
    """Yield the URL of the database, starting the embedded one for the block if it does not run.

    Raises AlreadyRunning, HomeUnusable, EmbeddedUnavailable, CannotStart or Stopped.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    home = Home(settings.home)
    running = home.running_stack()
    if running is not None:
        yield running.database_url
        return
    with home.lock(), SignalCounter() as signals:
        home.kill_leftovers()
        supervisor = Supervisor(signals, echo=lambda _: None, on_pids_changed=home.record_children)
        try:
            spec, url = postgres_spec(settings.home)
            supervisor.start(spec)
            supervisor.wait_ready(spec.name)
            upgrade(url)
            yield url
        finally:
            supervisor.stop(list(supervisor.children))
            home.clear_records()
