"""Digests of rows, by which equal examples are found within a file and in several files.

Rows are compared as canonical JSON, without the keys that are for the owner's own use.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from app.formats.fields import IGNORED_KEYS
from app.formats.lines import BOM

# Rows of a file, from the first, that others are compared with; about 100 bytes are held of each.
MAX_REMEMBERED_ROWS = 500_000


def digest_row(row: Mapping[str, Any]) -> bytes:
    """Compute the digest of a row."""
    compared = {key: value for key, value in row.items() if key not in IGNORED_KEYS}
    return _digest(orjson.dumps(compared, option=orjson.OPT_SORT_KEYS))


def digest_line(line: bytes) -> bytes | None:
    """Compute the digest of the row on a line; None for a blank line."""
    text = line.removeprefix(BOM).strip()
    if not text:
        return None
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:
        row = None
    return digest_row(row) if isinstance(row, dict) else _digest(text)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
