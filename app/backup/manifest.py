"""Manifest of a backup. It is written last: a folder without one is not a backup."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.backup.errors import CorruptBackup
from app.storage import atomic_files

FORMAT = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the backup: its path in the backup's folder, size and checksum."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TableEntry:
    """The rows of a table; `columns` are in the order of the file's fields."""

    name: str
    columns: tuple[str, ...]
    rows: int
    file: FileEntry


@dataclass(frozen=True, slots=True)
class DamagedObject:
    """An object that was missing or damaged in storage already when the backup was taken."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`revision` is that of the newest migration of the schema; `created_at` is in ISO 8601."""

    created_at: str
    luthier_version: str
    postgres_version: str
    revision: str
    tables: tuple[TableEntry, ...]
    objects: FileEntry
    object_count: int
    object_bytes: int
    damaged: tuple[DamagedObject, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the manifest into a backup's folder, atomically and durably."""
        content: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        content["sha256"] = _checksum(content)
        data = json.dumps(content, indent=1).encode()
        atomic_files.atomic_write(folder / FILE_NAME, [data])

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a backup's folder. Raises CorruptBackup."""
        path = folder / FILE_NAME
        try:
            content = json.loads(path.read_bytes())
            checksum = content.pop("sha256")
            if checksum != _checksum(content):
                raise CorruptBackup(f"{path} was changed: its checksum does not match.")
            return _parse(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptBackup(f"{path} cannot be read: {error}") from error


def _parse(content: dict[str, Any]) -> Manifest:
    if (found := content.pop("format")) != FORMAT:
        raise CorruptBackup(
            f"This backup has format {found}; this version of Luthier reads format {FORMAT}. "
            "Restore it with the version that wrote it, or a newer one."
        )
    tables = tuple(
        TableEntry(
            table["name"], tuple(table["columns"]), table["rows"], FileEntry(**table["file"])
        )
        for table in content.pop("tables")
    )
    damaged = tuple(DamagedObject(**damaged) for damaged in content.pop("damaged"))
    objects = FileEntry(**content.pop("objects"))
    return Manifest(tables=tables, objects=objects, damaged=damaged, **content)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
