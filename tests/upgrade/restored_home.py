"""The home folder beside this module, restored as if its service had been stopped just now."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.native_kernels import copy_kernels
from tests.upgrade.make_home import DATABASE, HERE, MODELS, RECORD, STORAGE, catalog

TIME_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'
"""
# Traffic is counted from the start of an hour.
HOUR_SECONDS = 3600
TO_START_OF_HOUR = "UPDATE public.model_hours SET hour = date_trunc('hour', hour, 'UTC')"
# Written by each use of a key.
CHANGES_WITH_USE = "last_used_at"


@dataclass(frozen=True, slots=True)
class RestoredHome:
    """What the old version recorded of a home that lies in `path`.

    All times in its database were moved by `moved_seconds`, so that nothing in it has expired.
    """

    path: Path
    record: dict[str, Any]
    moved_seconds: int

    @property
    def models_file(self) -> Path:
        return self.path.parent / "models.toml"

    def move_times(self, response: Any) -> Any:
        """A recorded response with its times moved as those of the database."""
        if isinstance(response, list):
            return [self.move_times(item) for item in response]
        if not isinstance(response, dict):
            return response
        return {name: self._move(name, value) for name, value in response.items()}

    def _move(self, name: str, value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            return self.move_times(value)
        if name == "hour":
            return (value + self.moved_seconds) // HOUR_SECONDS * HOUR_SECONDS
        is_time = name.endswith("_at") or name in ("created", "estimated_finish")
        return value + self.moved_seconds if is_time else value


def restore(path: Path, database_url: str) -> RestoredHome:
    """Restore the home into an empty folder and an empty database."""
    record = json.loads((HERE / RECORD).read_text(encoding="utf-8"))
    moved = int(time.time()) - record["made_at"]
    home = RestoredHome(path, record, moved)
    shutil.copytree(HERE / STORAGE, path / STORAGE)
    home.models_file.write_text(catalog(HERE / MODELS))
    copy_kernels(path)
    with psycopg.connect(database_url) as connection:
        connection.execute((HERE / DATABASE).read_bytes())
        # No trigger has a say in this: states are not changed.
        connection.execute("SET session_replication_role = replica")
        for table, column in connection.execute(TIME_COLUMNS).fetchall():
            moving = f'"{column}" = "{column}" + make_interval(secs => {moved})'
            connection.execute(f'UPDATE public."{table}" SET {moving}'.encode())
        connection.execute(TO_START_OF_HOUR)
    return home


def without_last_use(response: Any) -> Any:
    """A response without the times at which keys were used last."""
    if isinstance(response, list):
        return [without_last_use(item) for item in response]
    if not isinstance(response, dict):
        return response
    return {
        name: without_last_use(value)
        for name, value in response.items()
        if name != CHANGES_WITH_USE
    }
