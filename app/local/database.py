"""The database for one command: the operator's, the running stack's, or the embedded one."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.db.migrate import upgrade
from app.local.home import Home
from app.local.postgres import postgres
from app.local.supervisor import Interrupts, Keeper
from app.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The URL of the database. The embedded one, if it does not run, is started for the block.

    Raises AlreadyRunning, HomeUnusable, EmbeddedUnavailable, CannotStart or Stopped.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    home = Home(settings.home)
    running = home.running()
    if running is not None:
        yield running.database_url
        return
    with home.locked(), Interrupts() as interrupts:
        home.end_leftovers()
        keeper = Keeper(interrupts, say=lambda _: None, changed=home.note_children)
        try:
            program, url = postgres(settings.home)
            keeper.start(program)
            keeper.wait_ready(program.name)
            upgrade(url)
            yield url
        finally:
            keeper.stop(list(keeper.children))
            home.forget()
