"""Scenarios, the figures they measure, and the line that says how many faults were survived.

Scenarios marked `fault_smoke` are part of every test run; the others take minutes and run with
`make faults`, which selects all.
"""

import math
import re
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.checker import Checker
from tests.faults.ground import Ground
from tests.faults.world import World

HERE = Path(__file__).parent
SCENARIO = re.compile(r"::test_(f[0-9]{2})_")


@dataclass
class Figure:
    """Something measured, between which bars it must lie, and how it was scaled."""

    name: str
    unit: str
    at_most: float
    at_least: float
    how: str
    values: list[float] = field(default_factory=list)

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


FIGURES = pytest.StashKey[dict[str, Figure]]()


class Figures:
    """Of one test. They are printed beside their bars and fail nothing: a job that survives late
    on a busy machine has survived."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._stash = request.config.stash.setdefault(FIGURES, {})

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
        figure = Figure(name, unit, at_most, at_least, how)
        figure = self._stash.setdefault(name, figure)
        figure.values.extend(values)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("fault_smoke") is None:
            item.add_marker("fault")


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    # Not below pytest's folder: for root Postgres runs as another user, whom a second pytest locks
    # out when it starts, and a Postgres that was killed then cannot start again.
    folder = Path(tempfile.mkdtemp(prefix="luthier-ground-"))
    ground = Ground(folder / "home")
    yield ground
    ground.close()
    shutil.rmtree(folder)


@pytest.fixture
def world(ground: Ground, tmp_path: Path) -> Iterator[World]:
    world = World(ground, tmp_path)
    yield world
    world.close()


@pytest.fixture
def checker(world: World) -> Checker:
    return Checker(world)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes = _outcomes(terminalreporter)
    if not outcomes:
        return
    figures = terminalreporter.config.stash.get(FIGURES, {}).values()
    for figure in figures:
        terminalreporter.write_line(figure.line)
    met = sum(figure.is_met for figure in figures)
    terminalreporter.write_line(f"bars met: {met}/{len(figures)}")
    survived = [name for name, found in outcomes.items() if found == {"passed"}]
    skipped = sorted(name.upper() for name, found in outcomes.items() if "skipped" in found)
    if skipped:
        terminalreporter.write_line(f"faults skipped here: {' '.join(skipped)}")
    terminalreporter.write_line(f"faults survived: {len(survived)}/{len(outcomes)}")


def _outcomes(reporter: pytest.TerminalReporter) -> dict[str, set[str]]:
    """How the tests of each scenario ended; one scenario may be several tests."""
    found: dict[str, set[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            match = SCENARIO.search(report.nodeid)
            if match is not None:
                found.setdefault(match[1], set()).add(outcome)
    return found
