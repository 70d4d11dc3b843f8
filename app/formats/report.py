"""A verdict as people read it: what the file is, its faults by kind, what else is worth a look."""

import re
from collections.abc import Iterator, Sequence

from app.formats.dataset_summary import Summary, counted
from app.formats.errors import Fault
from app.formats.validator import MOST_FAULTS, Verdict

# What differs between two faults of one kind: which example, which line, which column.
PLACE = re.compile(r"^Example \d+(, message \d+)?|\d+")
MOST_KINDS = 20
MOST_RANGES = 8


def report(verdict: Verdict, *, every_fault: bool = False) -> Iterator[str]:
    """The lines of a report. `every_fault` lists the faults one by one, in the file's order."""
    yield _summary(verdict)
    if every_fault:
        yield from map(_one, verdict.faults)
    else:
        yield from _by_kind(verdict)
    hidden = verdict.fault_count - len(verdict.faults)
    if hidden:
        yield f"{hidden:,} more have faults that are not listed."
    if verdict.fault_count >= MOST_FAULTS:
        yield "The rest of the file was not judged: a file with so many faults is of another kind."
    if verdict.summary is not None:
        yield from _as_a_whole(verdict.summary)


def _summary(verdict: Verdict) -> str:
    which = "" if verdict.format is None else f" ({verdict.format} format)"
    if not verdict.examples:
        return "No examples."
    if not verdict.fault_count:
        return f"Good: {verdict.examples:,} examples{which}."
    return f"{verdict.fault_count:,} of {verdict.examples:,} examples cannot be used{which}."


def _as_a_whole(summary: Summary) -> Iterator[str]:
    if summary.labels or summary.notes:
        yield ""
    if summary.labels:
        yield counted(summary.labels)
    yield from summary.notes


def _by_kind(verdict: Verdict) -> Iterator[str]:
    kinds: dict[str, list[Fault]] = {}
    for fault in verdict.faults:
        kinds.setdefault(PLACE.sub("", fault.reason), []).append(fault)
    often = sorted(kinds.values(), key=len, reverse=True)
    for faults in often[:MOST_KINDS]:
        yield ""
        yield from _kind(faults)
    if len(often) > MOST_KINDS:
        yield ""
        yield f"{len(often) - MOST_KINDS} other kinds of faults. See all with --all."


def _kind(faults: Sequence[Fault]) -> Iterator[str]:
    first = faults[0]
    if len(faults) == 1:
        yield _one(first)
        return
    yield f"{len(faults):,} times, first at {_one(first)}"
    yield f"    lines {_ranges([fault.line for fault in faults])}"


def _one(fault: Fault) -> str:
    return f"line {fault.line}, byte {fault.offset}: {fault.reason}"


def _ranges(lines: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1-3, 7"."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in ranges[:MOST_RANGES]]
    more = len(ranges) - MOST_RANGES
    return ", ".join(shown) + (f" and {more} more places" if more > 0 else "")
