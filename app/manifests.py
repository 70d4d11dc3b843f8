"""Manifests of checkpoints and adapters: the size and checksum of each file, written last."""

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """Size and checksum of a checkpoint's file."""

    bytes: int
    sha256: str


def read_manifest(data: bytes) -> dict[str, ManifestEntry]:
    """Parse a manifest into its entries by file name."""
    return {name: ManifestEntry(**values) for name, values in json.loads(data)["files"].items()}


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_damage(
    folder: Path,
    manifest: bytes,
    names: Collection[str] | None = None,
    *,
    checksum: Callable[[Path], str] = file_sha256,
) -> str | None:
    """Return the first file that is not as in the manifest, the manifest's own name if it cannot be
    read, or None. `names` limits the check to these files."""
    try:
        entries = read_manifest(manifest)
    except (ValueError, KeyError, TypeError, AttributeError):
        return MANIFEST_FILE
    for name in sorted(entries if names is None else names):
        if name not in entries or Path(name).name != name:
            return MANIFEST_FILE
        path, entry = folder / name, entries[name]
        # The size first, which costs nothing.
        if not path.is_file() or path.stat().st_size != entry.bytes:
            return name
        if checksum(path) != entry.sha256:
            return name
    return None
