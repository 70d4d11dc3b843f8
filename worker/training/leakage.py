"""Leakage: examples that more than one of a job's files has, so that metrics are too optimistic.

Rows are compared as canonical JSON, without the keys that are for the owner's own use. Digests of
the smaller files are held, and the training file is read past them.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import orjson

from app.formats.fields import IGNORED_KEYS
from worker.run_folder import RunFolder

# Rows of a file, from the first, that others are compared with; about 100 bytes are held of each.
MAX_REMEMBERED_ROWS = 500_000
# Pairs of lines that a warning names.
MAX_NAMED_PAIRS = 5


def leakage_warnings(folder: RunFolder) -> Iterator[str]:
    """Yield a warning for each two files of a run that have examples in common."""
    valid, test = (
        _read_digests(path) if path.exists() else {}
        for path in (folder.valid_file, folder.test_file)
    )
    if not valid and not test:
        return
    in_valid: list[tuple[int, int]] = []
    in_test: list[tuple[int, int]] = []
    for line, digest in _digests(folder.train_file):
        for held_out, pairs in ((valid, in_valid), (test, in_test)):
            if digest in held_out:
                pairs.append((held_out.pop(digest), line))
    # Those that the training file has too are not in `valid` any more, and are told once.
    shared = [(line, valid[digest]) for digest, line in test.items() if digest in valid]
    yield from _warn("validation", "training", in_valid)
    yield from _warn("test", "training", in_test)
    yield from _warn("test", "validation", shared)


def _warn(role: str, other: str, pairs: list[tuple[int, int]]) -> Iterator[str]:
    if not pairs:
        return
    pairs.sort()
    named = ", ".join(f"line {line} (line {there})" for line, there in pairs[:MAX_NAMED_PAIRS])
    more = f" and {len(pairs) - MAX_NAMED_PAIRS} more" if len(pairs) > MAX_NAMED_PAIRS else ""
    yield (
        f"{len(pairs)} different example(s) of the {role} file are also in the {other} file, so "
        f"the {role} metrics are too optimistic: {named}{more}."
    )


def _read_digests(path: Path) -> dict[bytes, int]:
    """Read the first line of each different row of a file, by the row's digest."""
    digests: dict[bytes, int] = {}
    for line, digest in _digests(path):
        if len(digests) == MAX_REMEMBERED_ROWS:
            break
        digests.setdefault(digest, line)
    return digests


def _digests(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the line and the digest of each row of a valid file."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if text:
                yield number, _digest(text)


def _digest(text: bytes) -> bytes:
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:
        row = None
    if isinstance(row, dict):
        row = {key: value for key, value in row.items() if key not in IGNORED_KEYS}
        text = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).digest()
