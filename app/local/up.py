"""`luthier up`: everything in the order in which one thing needs another, until it is stopped."""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.catalog import Catalog
from app.db.migrate import upgrade
from app.db.session import one_off_transaction
from app.local import ports, services
from app.local.home import Home, write_private
from app.local.postgres import postgres
from app.local.supervisor import LOOK_SECONDS, Interrupts, Keeper, Stopped
from app.local.valkey import valkey
from app.organization import admin_keys, api_keys
from app.settings import Settings

Say = Callable[[str], None]


class PortTaken(Exception):
    """The port of the API is not free; the message says by whom it is held and what to do."""


def up(settings: Settings, *, demo: bool, say: Say) -> None:
    """Run everything until somebody asks for the end.

    Raises CatalogError, AlreadyRunning, HomeUnusable, PortTaken, EmbeddedUnavailable or
    CannotStart, each with a message for people; whatever was started has been ended by then.
    """
    # Every child would fail on a broken catalogue, one after the other.
    Catalog.load(settings.models_file)
    home = Home(settings.home)
    with home.locked(), Interrupts() as interrupts:
        for name in home.end_leftovers():
            say(f"Ended {name}, left behind by a run that was killed.")
        check_port(settings)
        keeper = Keeper(interrupts, say, home.note_children)
        try:
            serving = start(settings, home, keeper, say)
            if demo:
                keeper.start(services.demo(serving))
            while True:
                interrupts.check()
                keeper.tend()
                time.sleep(LOOK_SECONDS)
        except Stopped:
            say("\nStopping (Ctrl-C again to hurry) …")
        finally:
            keeper.stop(*services.STOP_ORDER)
            home.forget()
        say("Stopped.")


def start(settings: Settings, home: Home, keeper: Keeper, say: Say) -> Settings:
    """Start all children and wait until requests are answered; returns the settings they run on."""
    settings = _with_own_engine(settings)
    is_first = not (settings.home / "cache").exists()
    # First, as it takes longest to load and needs nothing of the others.
    keeper.start(services.engine(settings))
    is_shared = settings.database_url is not None
    settings = _with_servers(settings, keeper)
    assert settings.database_url is not None
    assert settings.redis_url is not None
    upgrade(settings.database_url, contract=not is_shared)
    home.note_stack(services.url(settings), settings.database_url, settings.redis_url)
    keeper.interrupts.check()
    first_key(settings, say)
    first_admin_key(settings, say)
    keeper.start(services.api(settings))
    if is_first:
        say("The engine converts the base model, once; this takes half a minute.")
    keeper.wait_ready("api", "engine")
    # Last: while they load, on two cores, nobody would be answered.
    keeper.start(services.trainer(settings))
    keeper.start(services.io(settings))
    logs = shown(settings.home / "logs")
    say(f"Serving at {services.url(settings)} until Ctrl-C   (logs: {logs})")
    return settings


def check_port(settings: Settings) -> None:
    """Raises PortTaken if the API could not listen."""
    obstacle = ports.obstacle(settings.port, settings.host)
    if obstacle is not None:
        raise PortTaken(
            f"Port {settings.port} {obstacle}. Choose another: PORT={settings.port + 1} make up"
        )


def first_key(settings: Settings, say: Say) -> None:
    """Make sure that LUTHIER_HOME/api_key holds a key that works; make one if it does not."""
    path = key_file(settings)
    if _replaced(settings, path, api_keys.ensure_working_key):
        say(f"Made the first API key: {shown(path)}")


def first_admin_key(settings: Settings, say: Say) -> None:
    """The same for LUTHIER_HOME/admin_key, which manages projects and their keys."""
    path = settings.home / "admin_key"
    if _replaced(settings, path, admin_keys.ensure_working_key):
        say(f"Made the first admin key: {shown(path)}")


def _replaced(settings: Settings, path: Path, replace: Callable[..., str | None]) -> bool:
    """Whether a file held no key that works; it holds one now."""
    assert settings.database_url is not None
    known = path.read_text().strip() if path.exists() else ""
    with one_off_transaction(settings.database_url) as session:
        secret = replace(session, settings.organization_slug, known)
    if secret is None:
        return False
    write_private(path, f"{secret}\n")
    return True


def key_file(settings: Settings) -> Path:
    return settings.home / "api_key"


def shown(path: Path) -> str:
    """A path as people write it: from the present folder, if it is below it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _with_own_engine(settings: Settings) -> Settings:
    """The engine's URL on a free port, the wanted one if it can be had, and a key for it.

    Anybody on this machine reaches the port, and would be answered by every project's models.
    """
    wanted = urlsplit(settings.engine_url).port or 8100
    update = {
        "engine_url": f"http://127.0.0.1:{ports.free_from(wanted)}",
        "engine_api_key": settings.engine_api_key or SecretStr(secrets.token_urlsafe(32)),
    }
    return settings.model_copy(update=update)


def _with_servers(settings: Settings, keeper: Keeper) -> Settings:
    """Start Postgres and Valkey unless the operator named others; returns the URLs to use."""
    update: dict[str, str] = {}
    for field, embedded in (("database_url", postgres), ("redis_url", valkey)):
        keeper.interrupts.check()
        if getattr(settings, field) is None:
            program, update[field] = embedded(settings.home)
            keeper.start(program)
    keeper.wait_ready(*({"postgres", "valkey"} & keeper.children.keys()), seconds=60)
    return settings.model_copy(update=update)
