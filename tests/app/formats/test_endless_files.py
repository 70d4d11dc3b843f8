"""Files that are meant to fill the memory or to take for ever: streamed, never held whole.

Sizes are those of the list of malformed files, M31 to M33, unless a constant here says otherwise.
"""

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import pytest

from app.formats import DatasetValidator, ValidationReport
from app.formats.dataset_summary import MAX_LABELS
from app.formats.rows import MAX_LINE_BYTES
from app.formats.validator import MAX_ERRORS

MIB = 2**20
# Not ten million of these two, for the time's sake: counting memory makes each line slow.
EMPTY_LINES = 10**6
GOOD_LINES = 10**5
CHAT = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
# What a line of the greatest length may take while it is looked at.
ONE_LINE = 200 * MIB
TEXT = '"%d"'
KEY = '"%d":0'


def validate_within(memory: int, chunks: Iterable[bytes]) -> ValidationReport:
    """The verdict on a stream, whose judging may take so many bytes of memory at most."""
    judge = DatasetValidator()
    tracemalloc.start()
    try:
        for chunk in chunks:
            judge.feed(chunk)
        verdict = judge.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory, f"{peak / MIB:.0f} MiB"
    return verdict


def numbered(pattern: str, *, room: int = MAX_LINE_BYTES - 1000) -> str:
    """As many items as a line has room for, each with its number, with commas between."""
    item = len(pattern % 0) + 7
    return ",".join(pattern % number for number in range(room // item))


def only_fault(verdict: ValidationReport) -> str:
    assert verdict.error_count == 1
    assert (verdict.errors[0].line, verdict.errors[0].offset) == (1, 0)
    return verdict.errors[0].reason


def test_m31_one_line_of_600_megabytes() -> None:
    def chunks() -> Iterator[bytes]:
        yield CHAT[:40]
        yield from repeat(b"x" * 10**6, 600)
        yield b"\n" + CHAT

    verdict = validate_within(16 * MIB, chunks())
    assert only_fault(verdict) == "Example 1 is longer than 4,194,304 bytes. Make it shorter."
    assert (verdict.format, verdict.example_count) == ("chat", 2)


class TestM32TenMillionTinyLines:
    @pytest.mark.parametrize("line", [b"{}\n", b"x\n", b"0\n"])
    def test_bad_ones_end_the_judging(self, line: bytes) -> None:
        verdict = validate_within(8 * MIB, repeat(line * 10**5, 100))
        assert (verdict.example_count, verdict.error_count) == (MAX_ERRORS, MAX_ERRORS)
        assert [fault.line for fault in verdict.errors] == list(range(1, 101))
        assert verdict.errors[99].offset == 99 * len(line)

    def test_empty_ones(self) -> None:
        verdict = validate_within(8 * MIB, repeat(b"\n" * 10**5, EMPTY_LINES // 10**5))
        assert "has no examples" in only_fault(verdict)

    def test_good_ones(self) -> None:
        verdict = validate_within(8 * MIB, repeat(CHAT * 1000, GOOD_LINES // 1000))
        assert (verdict.example_count, verdict.error_count) == (GOOD_LINES, 0)

    def test_good_ones_that_are_all_different(self) -> None:
        """What is remembered of them, to find duplicates, is of some and small."""
        lines = (b'{"text":"%d","label":"a"}\n' % number for number in range(GOOD_LINES // 5))
        verdict = validate_within(8 * MIB, lines)
        assert (verdict.example_count, verdict.error_count) == (GOOD_LINES // 5, 0)


class TestM33AMillionKeys:
    def test_all_of_them(self) -> None:
        line = "{" + ",".join(f'"{number}":0' for number in range(10**6)) + "}"
        reason = only_fault(validate_within(16 * MIB, [line.encode()]))
        assert reason.startswith("Example 1 is longer than")

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (f"{{{numbered(KEY)}}}", "is missing key 'messages'"),
            (
                f'{{"messages":[{{{numbered(KEY)}}}]}}',
                ", message 1 Discriminator 'role' is missing",
            ),
            (f'{{"text":"a","label":"b",{numbered(KEY)}}}', 'contains an extra "0"'),
        ],
        ids=["of an example", "of a message", "beside a label"],
    )
    def test_as_many_as_a_line_has_room_for(self, line: str, reason: str) -> None:
        assert reason in only_fault(validate_within(ONE_LINE, [line.encode()]))


class TestListsWithoutEnd:
    def test_labels(self) -> None:
        """Each was once compared with each other one, which took hours."""
        line = f'{{"text":"a","labels":[{numbered(TEXT)}]}}\n'
        verdict = validate_within(ONE_LINE, [line.encode()])
        assert only_fault(verdict).startswith(
            f"Example 1 has the file's label number {MAX_LABELS + 1}."
        )
        assert verdict.summary is not None
        assert verdict.summary.labels == {}

    def test_a_label_that_is_there_twice(self) -> None:
        line = f'{{"text":"a","labels":["x",{numbered(TEXT)},"x"]}}\n'
        assert 'the label "x" is there twice' in only_fault(
            validate_within(ONE_LINE, [line.encode()])
        )

    def test_labels_of_many_rows_are_not_gathered(self) -> None:
        rows = 60

        def chunks() -> Iterator[bytes]:
            for row in range(rows):
                labels = [f"{row}-{number}" for number in range(1000)]
                yield json.dumps({"text": "a", "labels": labels}).encode() + b"\n"

        verdict = validate_within(8 * MIB, chunks())
        assert verdict.error_count == rows - MAX_LABELS // 1000

    def test_long_tags(self) -> None:
        """A file's labels are remembered, so that none may be as long as a line."""
        row: dict[str, Any] = {"tokens": ["a"], "tags": ["B-" + "x" * 300]}
        reason = only_fault(validate_within(MIB, [json.dumps(row).encode()]))
        assert "the label of tag 1 is longer than 256 characters" in reason

    def test_signs(self) -> None:
        """The words of a text take more than a hundred times its bytes, if each is one sign."""
        line = b'{"text":"%s","entities":[{"start":0,"end":1,"label":"a"}]}'
        verdict = validate_within(80 * MIB, [line % (b"!" * 4 * 10**6)])
        assert (verdict.example_count, verdict.error_count) == (1, 0)
