"""Libraries that call OpenAI's API, unmodified, against `luthier up` with its bundled model.

Each has its tests in `suite/`, which run in the environment that `make clients` creates. The model
is untuned: what is tested is that each form of request is understood, and that each form of answer
is what the library expects.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.contract.running_stack import BASE, Stack, run_stack

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

SUITE = Path(__file__).parent / "suite"
PYTHON = ROOT / ".venv-clients/bin/python"
OPTIONS = ("--noconftest", "-p", "no:cacheprovider", "--import-mode=prepend", "-q", "--tb=short")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    assert PYTHON.exists(), "run `make clients`, which creates the environment of the clients"
    home = Path(tempfile.mkdtemp(prefix="luthier-clients-"))
    with run_stack(home, tmp_path_factory.mktemp("luthier") / "up.log") as running:
        yield running
    shutil.rmtree(home)


@pytest.mark.parametrize(
    "name", ["openai_sdk", "langchain", "instructor_", "pydantic_ai_", "openai_agents"]
)
def test_client(stack: Stack, tmp_path: Path, name: str) -> None:
    # An empty configuration: that of this project is for its own tests.
    configuration = tmp_path / "pytest.ini"
    configuration.write_text("[pytest]\n")
    command = [PYTHON, "-m", "pytest", "-c", configuration, *OPTIONS, SUITE / f"{name}.py"]
    environment = os.environ | {
        "OPENAI_BASE_URL": f"{stack.url}/v1",
        "OPENAI_API_KEY": stack.key,
        "CLIENTS_MODEL": BASE,
    }
    finished = subprocess.run(
        command, cwd=SUITE, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
