"""The figures that scenarios measure, and the lines that say how many faults were survived."""

import math
import re
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import pytest

SCENARIO = re.compile(r"::test_(f[0-9]{2})_")
# What a test's report has its figures under.
FIGURE = "figure"


@dataclass
class Figure:
    """Something measured, between which bars it must lie, and how it was scaled."""

    name: str
    unit: str
    at_most: float
    at_least: float
    how: str
    values: list[float]

    @property
    def line(self) -> str:
        said = "met" if self.is_met else "MISSED"
        return f"{self.name}: {self._values} ({self._bar}: {said}){self.how and f'; {self.how}'}"

    @property
    def is_met(self) -> bool:
        return self.at_least <= self._worst <= self.at_most

    @property
    def _worst(self) -> float:
        """Its 99th percentile by nearest rank: the worst of fewer than a hundred."""
        ordered = sorted(self.values, reverse=self.at_least > -math.inf)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    @property
    def _bar(self) -> str:
        if self.at_least > -math.inf:
            return f"at least {self.at_least:g} {self.unit}"
        return f"at most {self.at_most:g} {self.unit}"

    @property
    def _values(self) -> str:
        if len(self.values) == 1:
            return f"{self._worst:.3g} {self.unit}"
        middle = statistics.median(self.values)
        return f"P99 {self._worst:.3g}, median {middle:.3g} {self.unit} of {len(self.values)}"


class Figures:
    """Of one test. They are printed beside their bars and fail nothing: a job that survives late
    on a busy machine has survived."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def add(
        self,
        name: str,
        *values: float,
        unit: str = "s",
        at_most: float = math.inf,
        at_least: float = -math.inf,
        how: str = "",
    ) -> None:
        """Keep values for the summary."""
        figure = Figure(name, unit, at_most, at_least, how, list(values))
        # As numbers and strings: the summary may be that of another process.
        self._record(FIGURE, asdict(figure))


def summarize(reporter: pytest.TerminalReporter) -> None:
    """Say of the scenarios that were run what they measured and how many were survived."""
    outcomes = _outcomes(reporter)
    if not outcomes:
        return
    figures = _figures(reporter)
    for figure in figures:
        reporter.write_line(figure.line)
    met = sum(figure.is_met for figure in figures)
    reporter.write_line(f"bars met: {met}/{len(figures)}")
    survived = [name for name, found in outcomes.items() if found == {"passed"}]
    skipped = sorted(name.upper() for name, found in outcomes.items() if "skipped" in found)
    if skipped:
        reporter.write_line(f"faults skipped here: {' '.join(skipped)}")
    reporter.write_line(f"faults survived: {len(survived)}/{len(outcomes)}")


def _outcomes(reporter: pytest.TerminalReporter) -> dict[str, set[str]]:
    """How the tests of each scenario ended; one scenario may be several tests."""
    found: dict[str, set[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            match = SCENARIO.search(report.nodeid)
            if match is not None:
                found.setdefault(match[1], set()).add(outcome)
    return found


def _figures(reporter: pytest.TerminalReporter) -> list[Figure]:
    """What the tests have measured; that of one name is one figure, whoever measured it."""
    reports = [*reporter.stats.get("passed", []), *reporter.stats.get("failed", [])]
    found: dict[str, Figure] = {}
    for name, value in (pair for report in reports for pair in report.user_properties):
        if name == FIGURE:
            measured = Figure(**value)
            figure = found.setdefault(measured.name, replace(measured, values=[]))
            figure.values.extend(measured.values)
    return list(found.values())
