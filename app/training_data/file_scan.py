"""Tasks of the CPU pool that read a whole training file: statistics, and rows of two files."""

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
from pydantic import BaseModel, Field

from app.formats.errors import LineError
from app.formats.fields import IGNORED_KEYS
from app.formats.lines import Line, LineSplitter
from app.formats.row_digests import MAX_REMEMBERED_ROWS, digest_line, digest_row
from app.formats.rows import MAX_LINE_BYTES, Row, RowParser
from app.training_data.lengths import LengthDistribution, describe_lengths

# Rows of a file whose tokens are counted: all of a smaller file, else a uniform sample of this
# size. By the rows of a sample of 1,000, a mean is known to about a thirtieth of their spread.
MAX_SAMPLED_ROWS = 1000
# Of the sample's JSON. A single row may have more: the sample of a file with examples has one.
MAX_SAMPLE_BYTES = 2 * 2**20
# Equal rows, and rows in two files, that are named.
MAX_NAMED_PAIRS = 100
# Keys whose values are no texts of an example.
STRUCTURAL_KEYS = frozenset({"role", "type", *IGNORED_KEYS})


class FileScan(BaseModel):
    """Findings of `StatisticsTask` in the valid rows of a file.

    `duplicates` are lines of rows that are equal to one before them, each with the line of that;
    the first of `duplicate_count`. `characters` are those of the rows' texts, `sample` some rows.
    """

    examples: int
    invalid: int
    duplicate_count: int
    duplicates: list[tuple[int, int]]
    characters: LengthDistribution | None
    sample: list[Row] = Field(repr=False)


class StatisticsTask:
    """A task of the CPU pool: reads the stream of a file's bytes."""

    def __init__(self) -> None:
        self._parser = RowParser()
        self._lines: dict[bytes, int] = {}
        self._invalid = 0
        self._duplicate_count = 0
        self._duplicates: list[tuple[int, int]] = []
        self._lengths: Counter[int] = Counter()
        self._sample = RowSample()

    def feed(self, chunk: bytes) -> None:
        self._add(self._parser.feed(chunk))

    def finish(self) -> bytes:
        self._add(self._parser.finish())
        scan = FileScan(
            examples=self._lengths.total(),
            invalid=self._invalid,
            duplicate_count=self._duplicate_count,
            duplicates=self._duplicates,
            characters=describe_lengths(self._lengths),
            sample=self._sample.take(),
        )
        return scan.model_dump_json().encode()

    def _add(self, rows: Iterator[Row | LineError]) -> None:
        for row in rows:
            if isinstance(row, LineError):
                self._invalid += 1
                continue
            self._lengths[count_characters(row)] += 1
            self._sample.add(row)
            self._compare(row)

    def _compare(self, row: Row) -> None:
        digest, line = digest_row(row), self._parser.position.line
        first = self._lines.get(digest)
        if first is not None:
            self._duplicate_count += 1
            if len(self._duplicates) < MAX_NAMED_PAIRS:
                self._duplicates.append((line, first))
        elif len(self._lines) < MAX_REMEMBERED_ROWS:
            self._lines[digest] = line


class RowSample:
    """A uniform sample of rows, the same for the same rows, in bounded memory.

    Every row gets a random key. Those with the smallest keys are kept, at least one and otherwise
    as many as fit: the first rows of the file as if it were shuffled.
    """

    def __init__(self) -> None:
        self._random = random.Random(0)
        # Heap of negated keys, numbers and JSON: the row with the largest key is the first.
        self._rows: list[tuple[float, int, bytes]] = []
        self._size = 0
        self._seen = 0
        # The smallest key that was left out. A row with a larger one would come after it.
        self._limit = 1.0

    def add(self, row: Row) -> None:
        self._seen += 1
        key = self._random.random()
        if key >= self._limit:
            return
        content = orjson.dumps(row)
        heapq.heappush(self._rows, (-key, self._seen, content))
        self._size += len(content)
        while len(self._rows) > 1 and self._is_too_large():
            negated_key, _, left_out = heapq.heappop(self._rows)
            self._limit = -negated_key
            self._size -= len(left_out)

    def take(self) -> list[Row]:
        """Return the rows in the order of the file."""
        by_number = sorted(self._rows, key=lambda kept: kept[1])
        return [orjson.loads(content) for _, _, content in by_number]

    def _is_too_large(self) -> bool:
        return len(self._rows) > MAX_SAMPLED_ROWS or self._size > MAX_SAMPLE_BYTES


def count_characters(value: Any) -> int:
    """Count the characters of the texts in a row. Level by level: the input decides the depth."""
    total, level = 0, [value]
    while level:
        children: list[Any] = []
        for item in level:
            if isinstance(item, str):
                total += len(item)
            elif isinstance(item, dict):
                children += [child for key, child in item.items() if key not in STRUCTURAL_KEYS]
            elif isinstance(item, list):
                children += item
        level = children
    return total


class LeakageTask:
    """A task of the CPU pool: finds rows of a held-out file that the training file has too.

    The first chunks are those of the held-out file; those of the training file follow SEPARATOR.
    """

    # No chunk of a file: stores never yield an empty one.
    SEPARATOR = b""

    def __init__(self) -> None:
        self._held_out: dict[bytes, int] | None = None
        self._digests: dict[bytes, int] = {}
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._pairs: list[tuple[int, int]] = []

    def feed(self, chunk: bytes) -> None:
        if chunk:
            self._add(self._splitter.feed(chunk))
            return
        self._add(self._splitter.finish())
        self._held_out = self._digests
        self._splitter = LineSplitter(MAX_LINE_BYTES)

    def finish(self) -> bytes:
        self._add(self._splitter.finish())
        self._pairs.sort()
        return orjson.dumps({"count": len(self._pairs), "pairs": self._pairs[:MAX_NAMED_PAIRS]})

    def _add(self, lines: Iterator[Line]) -> None:
        for number, _, line in lines:
            digest = None if line is None else digest_line(line)
            if digest is None:
                continue
            if self._held_out is None:
                if len(self._digests) < MAX_REMEMBERED_ROWS:
                    self._digests.setdefault(digest, number)
            elif digest in self._held_out:
                self._pairs.append((self._held_out.pop(digest), number))
