"""Measurements of the scenarios, and the summary of survived faults after a test run."""

import math
import re
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import pytest

SCENARIO_NUMBER = re.compile(r"::test_(f[0-9]{2})_")
# Name of the property of a test report that holds a measurement.
PROPERTY = "measurement"


@dataclass
class Measurement:
    """Measured values, their target, and a note on how they were scaled or computed."""

    name: str
    unit: str
    at_most: float
    at_least: float
    note: str
    values: list[float]

    @property
    def line(self) -> str:
        verdict = "met" if self.is_met else "MISSED"
        note = self.note and f"; {self.note}"
        return (
            f"{self.name}: {self._describe_values()} ({self._describe_target()}: {verdict}){note}"
        )

    @property
    def is_met(self) -> bool:
        return self.at_least <= self._p99 <= self.at_most

    @property
    def _p99(self) -> float:
        """The 99th percentile by nearest rank: the worst of fewer than a hundred values."""
        ordered = sorted(self.values, reverse=self.at_least > -math.inf)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    def _describe_target(self) -> str:
        if self.at_least > -math.inf:
            return f"at least {self.at_least:g} {self.unit}"
        return f"at most {self.at_most:g} {self.unit}"

    def _describe_values(self) -> str:
        if len(self.values) == 1:
            return f"{self._p99:.3g} {self.unit}"
        median = statistics.median(self.values)
        return f"P99 {self._p99:.3g}, median {median:.3g} {self.unit} of {len(self.values)}"


class Measurements:
    """The measurements of one test. They are printed with their targets and fail no test: a job
    that survives late on a busy machine has survived."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def add(
        self,
        name: str,
        *values: float,
        unit: str = "s",
        at_most: float = math.inf,
        at_least: float = -math.inf,
        note: str = "",
    ) -> None:
        """Record values for the summary."""
        measurement = Measurement(name, unit, at_most, at_least, note, list(values))
        # As plain data: the summary may be written by another process of pytest-xdist.
        self._record(PROPERTY, asdict(measurement))


def summarize(reporter: pytest.TerminalReporter) -> None:
    """Print the measurements of the scenarios that ran, and how many faults were survived."""
    measurements = _collect_measurements(reporter)
    for measurement in measurements:
        reporter.write_line(measurement.line)
    outcomes = _outcomes_by_scenario(reporter)
    if not outcomes:
        return
    met = sum(measurement.is_met for measurement in measurements)
    reporter.write_line(f"targets met: {met}/{len(measurements)}")
    survived = [name for name, found in outcomes.items() if found == {"passed"}]
    skipped = sorted(name.upper() for name, found in outcomes.items() if "skipped" in found)
    if skipped:
        reporter.write_line(f"faults skipped here: {' '.join(skipped)}")
    reporter.write_line(f"faults survived: {len(survived)}/{len(outcomes)}")


def _outcomes_by_scenario(reporter: pytest.TerminalReporter) -> dict[str, set[str]]:
    """Outcomes of the tests of each scenario; one scenario may have several tests."""
    found: dict[str, set[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            match = SCENARIO_NUMBER.search(report.nodeid)
            if match is not None:
                found.setdefault(match[1], set()).add(outcome)
    return found


def _collect_measurements(reporter: pytest.TerminalReporter) -> list[Measurement]:
    """The measurements of all tests; values under the same name are merged."""
    reports = [*reporter.stats.get("passed", []), *reporter.stats.get("failed", [])]
    merged: dict[str, Measurement] = {}
    for name, value in (pair for report in reports for pair in report.user_properties):
        if name == PROPERTY:
            measured = Measurement(**value)
            measurement = merged.setdefault(measured.name, replace(measured, values=[]))
            measurement.values.extend(measured.values)
    return list(merged.values())
