"""Scenarios and what they stand on.

Scenarios marked `fault_smoke` are part of every test run; the others take minutes and run with
`make faults`, which selects all.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.backing_services import Ground
from tests.faults.checker import Checker
from tests.faults.measurements import Figures
from tests.faults.scenario import World

HERE = Path(__file__).parent


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
def figures(record_property: Callable[[str, object], None]) -> Figures:
    return Figures(record_property)
