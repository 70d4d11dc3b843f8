"""Human-readable validation reports: errors grouped by kind, then the summary."""

import re
from collections.abc import Iterator, Sequence

from app.formats.dataset_summary import DatasetSummary, label_counts_sentence
from app.formats.errors import LineError
from app.formats.validator import MIN_TRAINING_EXAMPLES, ValidationReport

# The parts that differ between two errors of one kind: example, message, line and column numbers.
POSITION = re.compile(r"^Example \d+(, message \d+)?|\d+")
MAX_GROUPS = 20
MAX_RANGES = 8


def render_report(report: ValidationReport, *, all_errors: bool = False) -> Iterator[str]:
    """Render a report as lines. `all_errors` lists all errors in file order, not by kind."""
    yield _headline(report)
    if not report.error_count and report.example_count < MIN_TRAINING_EXAMPLES:
        yield (
            f"A training file needs at least {MIN_TRAINING_EXAMPLES} examples; a validation or "
            "test file may have fewer."
        )
    if all_errors:
        yield from map(_error_line, report.errors)
    else:
        yield from _grouped_errors(report)
    hidden = report.error_count - len(report.errors)
    if hidden:
        yield f"{hidden:,} more errors are not listed."
    if report.has_too_many_errors:
        yield (
            "The rest of the file was not checked: with this many errors, it is probably in "
            "another format."
        )
    if report.summary is not None:
        yield from _summary_lines(report.summary)


def _headline(report: ValidationReport) -> str:
    suffix = "" if report.format is None else f" ({report.format} format)"
    count = f"{report.example_count:,} {'example' if report.example_count == 1 else 'examples'}"
    if not report.example_count:
        return "No examples."
    if not report.error_count:
        return f"Good: {count}{suffix}."
    return f"{report.error_count:,} of {count} cannot be used{suffix}."


def _summary_lines(summary: DatasetSummary) -> Iterator[str]:
    if summary.labels or summary.notes:
        yield ""
    if summary.labels:
        yield label_counts_sentence(summary.labels)
    yield from summary.notes


def _grouped_errors(report: ValidationReport) -> Iterator[str]:
    groups: dict[str, list[LineError]] = {}
    for error in report.errors:
        groups.setdefault(POSITION.sub("", error.reason), []).append(error)
    ranked = sorted(groups.values(), key=len, reverse=True)
    for errors in ranked[:MAX_GROUPS]:
        yield ""
        yield from _error_group(errors)
    if len(ranked) > MAX_GROUPS:
        yield ""
        yield f"{len(ranked) - MAX_GROUPS} more kinds of errors. List all errors with --all."


def _error_group(errors: Sequence[LineError]) -> Iterator[str]:
    first = errors[0]
    if len(errors) == 1:
        yield _error_line(first)
        return
    yield f"{len(errors):,} times, first at {_error_line(first)}"
    yield f"    lines {_format_ranges([error.line for error in errors])}"


def _error_line(error: LineError) -> str:
    return f"line {error.line}, byte {error.offset}: {error.reason}"


def _format_ranges(lines: Sequence[int]) -> str:
    """Line numbers with runs collapsed: 1, 2, 3, 7 as "1-3, 7"."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in ranges[:MAX_RANGES]]
    more = len(ranges) - MAX_RANGES
    return ", ".join(shown) + (f" and {more} more places" if more > 0 else "")
