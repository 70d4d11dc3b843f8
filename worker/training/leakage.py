"""Leakage: examples that more than one of a job's files has, so that metrics are too optimistic.

Rows are compared by their digests (`app.formats.row_digests`). Those of the smaller files are held,
and the training file is read past them.
"""

from collections.abc import Iterator
from pathlib import Path

from app.formats.row_digests import MAX_REMEMBERED_ROWS, digest_line
from worker.run_folder import RunFolder

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
            digest = digest_line(line)
            if digest is not None:
                yield number, digest
