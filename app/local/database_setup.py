"""Set-up of the database by `luthier up`: its schema, the first keys, and a link to the console."""

from collections.abc import Callable
from pathlib import Path

from app.db.migrate import upgrade
from app.db.session import one_off_transaction
from app.local import console_link
from app.local.home import display_path, key_path, write_private
from app.local.operator_commands import get_user_name
from app.organization import admin_keys, api_keys
from app.settings import Settings

Echo = Callable[[str], None]


def migrate(database_url: str, *, contract: bool) -> None:
    """Apply pending migrations; see `app.db.migrate.upgrade`."""
    upgrade(database_url, contract=contract)


def create_console_link(settings: Settings) -> str:
    """Create a link for one log-in to the console."""
    assert settings.database_url is not None
    return console_link.create_link(settings.database_url, settings)


def ensure_key_file(settings: Settings, echo: Echo) -> None:
    """Ensure that LUTHIER_HOME/api_key contains a working API key; create one if not."""
    path = key_path(settings)
    if _ensure_key_file(settings, path, api_keys.ensure_working_key):
        echo(f"Created the first API key: {display_path(path)}")


def ensure_admin_key_file(settings: Settings, echo: Echo) -> None:
    """Ensure that LUTHIER_HOME/admin_key contains a working admin key; create one if not."""
    path = settings.home / "admin_key"
    if _ensure_key_file(settings, path, admin_keys.ensure_working_key):
        echo(f"Created the first admin key: {display_path(path)}")


def _ensure_key_file(
    settings: Settings, path: Path, ensure_working_key: Callable[..., str | None]
) -> bool:
    """Create a key and write it to `path`, unless the file has a working one; True if created."""
    assert settings.database_url is not None
    existing_secret = path.read_text().strip() if path.exists() else ""
    with one_off_transaction(settings.database_url) as session:
        secret = ensure_working_key(
            session, settings.organization_slug, existing_secret, user=get_user_name()
        )
    if secret is None:
        return False
    write_private(path, f"{secret}\n")
    return True
