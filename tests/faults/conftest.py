"""Fixtures of the fault scenarios.

Scenarios marked `fault_smoke` run with `make fault-smoke`, and in every run of CI; the others take
minutes and run with `make faults`, which selects all.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.backing_services import BackingServices
from tests.faults.checker import InvariantChecker
from tests.faults.measurements import Measurements
from tests.faults.scenario import Scenario

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("fault_smoke") is None:
            item.add_marker("fault")


@pytest.fixture(scope="session")
def backing_services() -> Iterator[BackingServices]:
    # Not below pytest's folder: for root, Postgres runs as another user, whom a second pytest locks
    # out when it starts, and a Postgres that was killed then cannot start again.
    folder = Path(tempfile.mkdtemp(prefix="luthier-faults-"))
    folder.chmod(0o711)
    services = BackingServices(folder / "home")
    yield services
    services.close()
    shutil.rmtree(folder)


@pytest.fixture
def scenario(backing_services: BackingServices, tmp_path: Path) -> Iterator[Scenario]:
    scenario = Scenario(backing_services, tmp_path)
    yield scenario
    scenario.close()


@pytest.fixture
def checker(scenario: Scenario) -> InvariantChecker:
    return InvariantChecker(scenario)


@pytest.fixture
def measurements(record_property: Callable[[str, object], None]) -> Measurements:
    return Measurements(record_property)
