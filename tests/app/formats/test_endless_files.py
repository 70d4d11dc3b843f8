"""Denial-of-service files (M31 to M33): validated as a stream, in bounded memory and time."""

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
# Fewer than ten million, since tracing memory makes each line slow.
EMPTY_LINES = 10**6
GOOD_LINES = 10**5
CHAT = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
# Memory that one line of maximum length may take while it is checked.
ONE_LINE = 200 * MIB
TEXT = '"%d"'
KEY = '"%d":0'


def validate_within(memory: int, chunks: Iterable[bytes]) -> ValidationReport:
    """Validate a stream and assert that it takes less than `memory` bytes."""
    validator = DatasetValidator()
    tracemalloc.start()
    try:
        for chunk in chunks:
            validator.feed(chunk)
        report = validator.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory, f"{peak / MIB:.0f} MiB"
    return report


def numbered(pattern: str, *, room: int = MAX_LINE_BYTES - 1000) -> str:
    """As many numbered items as fit on one line, joined by commas."""
    item = len(pattern % 0) + 7
    return ",".join(pattern % number for number in range(room // item))


def only_error(report: ValidationReport) -> str:
    assert report.error_count == 1
    assert (report.errors[0].line, report.errors[0].offset) == (1, 0)
    return report.errors[0].reason


def test_m31_one_line_of_600_megabytes() -> None:
    def chunks() -> Iterator[bytes]:
        yield CHAT[:40]
        yield from repeat(b"x" * 10**6, 600)
        yield b"\n" + CHAT

    report = validate_within(16 * MIB, chunks())
    assert only_error(report) == "Example 1 is longer than 4,194,304 bytes. Make it shorter."
    assert (report.format, report.example_count) == ("chat", 2)


class TestM32TenMillionTinyLines:
    @pytest.mark.parametrize("line", [b"{}\n", b"x\n", b"0\n"])
    def test_invalid_lines_stop_validation(self, line: bytes) -> None:
        report = validate_within(8 * MIB, repeat(line * 10**5, 100))
        assert (report.example_count, report.error_count) == (MAX_ERRORS, MAX_ERRORS)
        assert [error.line for error in report.errors] == list(range(1, 101))
        assert report.errors[99].offset == 99 * len(line)
        assert str(report.status_details()).endswith(" At least 9999 more example(s) have errors.")

    def test_empty_lines(self) -> None:
        report = validate_within(8 * MIB, repeat(b"\n" * 10**5, EMPTY_LINES // 10**5))
        assert "has no examples" in only_error(report)

    def test_valid_lines(self) -> None:
        report = validate_within(8 * MIB, repeat(CHAT * 1000, GOOD_LINES // 1000))
        assert (report.example_count, report.error_count) == (GOOD_LINES, 0)

    def test_distinct_valid_lines(self) -> None:
        """The memory for duplicate detection is bounded."""
        lines = (b'{"text":"%d","label":"a"}\n' % number for number in range(GOOD_LINES // 5))
        report = validate_within(8 * MIB, lines)
        assert (report.example_count, report.error_count) == (GOOD_LINES // 5, 0)


class TestM33AMillionKeys:
    def test_line_too_long(self) -> None:
        line = "{" + ",".join(f'"{number}":0' for number in range(10**6)) + "}"
        reason = only_error(validate_within(16 * MIB, [line.encode()]))
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
        ids=["of an example", "of a message", "next to a label"],
    )
    def test_as_many_as_fit_on_a_line(self, line: str, reason: str) -> None:
        assert reason in only_error(validate_within(ONE_LINE, [line.encode()]))


class TestLongLists:
    def test_labels(self) -> None:
        """Regression: comparing all pairs of labels took hours."""
        line = f'{{"text":"a","labels":[{numbered(TEXT)}]}}\n'
        report = validate_within(ONE_LINE, [line.encode()])
        assert only_error(report).startswith(
            f"Example 1 has the file's label number {MAX_LABELS + 1}."
        )
        assert report.summary is not None
        assert report.summary.labels == {}

    def test_duplicate_label(self) -> None:
        line = f'{{"text":"a","labels":["x",{numbered(TEXT)},"x"]}}\n'
        assert 'the label "x" appears twice' in only_error(
            validate_within(ONE_LINE, [line.encode()])
        )

    def test_labels_of_many_rows_are_bounded(self) -> None:
        rows = 60

        def chunks() -> Iterator[bytes]:
            for row in range(rows):
                labels = [f"{row}-{number}" for number in range(1000)]
                yield json.dumps({"text": "a", "labels": labels}).encode() + b"\n"

        report = validate_within(8 * MIB, chunks())
        assert report.error_count == rows - MAX_LABELS // 1000

    def test_long_tags(self) -> None:
        """Labels are kept in memory, so their length is limited."""
        row: dict[str, Any] = {"tokens": ["a"], "tags": ["B-" + "x" * 300]}
        reason = only_error(validate_within(MIB, [json.dumps(row).encode()]))
        assert "the label of tag 1 is longer than 256 characters" in reason

    def test_punctuation(self) -> None:
        """The words of a text of single symbols would take over a hundred times its bytes."""
        line = b'{"text":"%s","entities":[{"start":0,"end":1,"label":"a"}]}'
        report = validate_within(80 * MIB, [line % (b"!" * 4 * 10**6)])
        assert (report.example_count, report.error_count) == (1, 0)
