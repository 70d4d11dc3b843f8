"""Scenarios, the figures they measure, and the line that says how many faults were survived.

Scenarios marked `fault_smoke` are part of every test run; the others take minutes and run with
`make faults`, which selects all.
"""

import re
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
    """Something measured, what it must not exceed (or fall below), and how it was scaled."""

    name: str
    bar: str
    values: list[float] = field(default_factory=list)
    how: str = ""


FIGURES = pytest.StashKey[dict[str, Figure]]()


class Figures:
    def __init__(self, config: pytest.Config) -> None:
        self._stash = config.stash.setdefault(FIGURES, {})

    def add(self, name: str, *values: float, bar: str, how: str = "") -> None:
        self._stash.setdefault(name, Figure(name, bar, how=how)).values.extend(values)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("fault_smoke") is None:
            item.add_marker("fault")


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("ground") / "home")
    yield ground
    ground.close()


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
    return Figures(request.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes = _outcomes(terminalreporter)
    if not outcomes:
        return
    for figure in terminalreporter.config.stash.get(FIGURES, {}).values():
        terminalreporter.write_line(_line(figure))
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


def _line(figure: Figure) -> str:
    values = sorted(figure.values)
    worst, middle = values[-1], values[len(values) // 2]
    return (
        f"{figure.name}: {middle:.3g} median, {worst:.3g} at most of {len(values)} "
        f"(bar: {figure.bar}){f'; {figure.how}' if figure.how else ''}"
    )
