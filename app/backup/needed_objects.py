"""Objects that the rows of a snapshot need, as the database knows them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from app.db.tables import Checkpoint, File, FineTunedModel, UploadPart
from app.storage import join_key

MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class NeededObject:
    """An object that must be in the backup.

    Size and checksum are None where no row has them. With `is_manifest`, it lists further objects
    of its folder.
    """

    key: str
    bytes: int | None = None
    sha256: str | None = None
    is_manifest: bool = False


def find_needed_objects(connection: Connection) -> list[NeededObject]:
    """Find the objects that rows visible to the connection's transaction need.

    Only columns of the oldest supported schema are read.
    """
    return [*_find_files(connection), *_find_parts(connection), *_find_manifests(connection)]


def _find_files(connection: Connection) -> Iterator[NeededObject]:
    rows = select(File.storage_key, File.bytes, File.sha256).where(File.deleted_at.is_(None))
    for key, size, sha256 in connection.execute(rows):
        yield NeededObject(key, size, sha256)


def _find_parts(connection: Connection) -> Iterator[NeededObject]:
    # Parts of an upload that has ended keep their rows until their bytes are deleted, too.
    rows = select(UploadPart.storage_key, UploadPart.bytes, UploadPart.sha256)
    for key, size, sha256 in connection.execute(rows):
        yield NeededObject(key, size, sha256)


def _find_manifests(connection: Connection) -> Iterator[NeededObject]:
    """Find the manifests of checkpoints and models, most of which share a folder."""
    models = select(FineTunedModel.storage_prefix).where(FineTunedModel.deleted_at.is_(None))
    found: dict[str, str | None] = dict.fromkeys(connection.scalars(models))
    checkpoints = select(Checkpoint.storage_prefix, Checkpoint.manifest_sha256)
    for prefix, sha256 in connection.execute(checkpoints.where(Checkpoint.deleted_at.is_(None))):
        found[prefix] = sha256
    for folder, checksum in found.items():
        yield NeededObject(join_key(folder, MANIFEST_NAME), None, checksum, is_manifest=True)


def parse_manifest(key: str, data: bytes) -> Iterator[NeededObject]:
    """Parse a checkpoint's manifest into the other objects of its folder.

    Raises ValueError if it is malformed.
    """
    folder = key.rpartition("/")[0]
    try:
        for name, entry in json.loads(data)["files"].items():
            yield NeededObject(join_key(folder, name), int(entry["bytes"]), str(entry["sha256"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is malformed: {error}") from error
