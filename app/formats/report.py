"""A verdict as people read it: what the file is, its faults by kind, what else is worth a look."""

import re
from collections.abc import Iterator, Sequence

from app.formats.dataset_summary import DatasetSummary, label_counts_sentence
from app.formats.errors import LineError
from app.formats.validator import MAX_ERRORS, ValidationReport

# What differs between two faults of one kind: which example, which line, which column.
POSITION = re.compile(r"^Example \d+(, message \d+)?|\d+")
MAX_GROUPS = 20
MAX_RANGES = 8


def render_report(report: ValidationReport, *, all_errors: bool = False) -> Iterator[str]:
    """The lines of a report. `every_fault` lists the faults one by one, in the file's order."""
    yield _headline(report)
    if all_errors:
        yield from map(_error_line, report.errors)
    else:
        yield from _grouped_errors(report)
    hidden = report.error_count - len(report.errors)
    if hidden:
        yield f"{hidden:,} more have faults that are not listed."
    if report.error_count >= MAX_ERRORS:
        yield "The rest of the file was not judged: a file with so many faults is of another kind."
    if report.summary is not None:
        yield from _summary_lines(report.summary)


def _headline(verdict: ValidationReport) -> str:
    which = "" if verdict.format is None else f" ({verdict.format} format)"
    if not verdict.example_count:
        return "No examples."
    if not verdict.error_count:
        return f"Good: {verdict.example_count:,} examples{which}."
    return f"{verdict.error_count:,} of {verdict.example_count:,} examples cannot be used{which}."


def _summary_lines(summary: DatasetSummary) -> Iterator[str]:
    if summary.labels or summary.notes:
        yield ""
    if summary.labels:
        yield label_counts_sentence(summary.labels)
    yield from summary.notes


def _grouped_errors(verdict: ValidationReport) -> Iterator[str]:
    kinds: dict[str, list[LineError]] = {}
    for fault in verdict.errors:
        kinds.setdefault(POSITION.sub("", fault.reason), []).append(fault)
    often = sorted(kinds.values(), key=len, reverse=True)
    for faults in often[:MAX_GROUPS]:
        yield ""
        yield from _error_group(faults)
    if len(often) > MAX_GROUPS:
        yield ""
        yield f"{len(often) - MAX_GROUPS} other kinds of faults. See all with --all."


def _error_group(faults: Sequence[LineError]) -> Iterator[str]:
    first = faults[0]
    if len(faults) == 1:
        yield _error_line(first)
        return
    yield f"{len(faults):,} times, first at {_error_line(first)}"
    yield f"    lines {_format_ranges([fault.line for fault in faults])}"


def _error_line(fault: LineError) -> str:
    return f"line {fault.line}, byte {fault.offset}: {fault.reason}"


def _format_ranges(lines: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1-3, 7"."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in ranges[:MAX_RANGES]]
    more = len(ranges) - MAX_RANGES
    return ", ".join(shown) + (f" and {more} more places" if more > 0 else "")
