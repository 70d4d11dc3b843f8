"""Libraries that call OpenAI's API, unmodified, against `luthier up` with its bundled models.

Each has its tests in `suite/` or `node/`, which run in the environments that `make clients`
creates. The chat model is untuned: what is tested is that each form of request is understood, and
that each form of answer is what the library expects.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.contract.running_stack import BASE, Stack, run_stack

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

SUITE = Path(__file__).parent / "suite"
PYTHON = ROOT / ".venv-clients/bin/python"
NODE_SUITE = Path(__file__).parent / "node"
NODE_FOLDER = ROOT / ".node-clients"
ENCODER = "all-minilm-l6-v2"
OPTIONS = ("--noconftest", "-p", "no:cacheprovider", "--import-mode=prepend", "-q", "--tb=short")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="luthier-clients-"))
    with run_stack(home, tmp_path_factory.mktemp("luthier") / "up.log") as running:
        yield running
    shutil.rmtree(home)


@pytest.mark.parametrize(
    "name", ["openai_sdk", "langchain", "instructor_", "pydantic_ai_", "openai_agents"]
)
def test_client(stack: Stack, tmp_path: Path, name: str) -> None:
    assert PYTHON.exists(), "run `make clients`, which creates the environment of the clients"
    # An empty configuration: that of this project is for its own tests.
    configuration = tmp_path / "pytest.ini"
    configuration.write_text("[pytest]\n")
    command = [PYTHON, "-m", "pytest", "-c", configuration, *OPTIONS, SUITE / f"{name}.py"]
    finished = run(command, SUITE, stack)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("name", ["openai", "ai_sdk"])
def test_node_client(stack: Stack, name: str) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on PATH; the clients for Node were not tested")
    packages = NODE_FOLDER / "node_modules"
    assert packages.exists(), "run `make clients`, which installs them with npm"
    for file in NODE_SUITE.glob("*.mjs"):
        # Beside the packages, where node looks for them.
        shutil.copy(file, NODE_FOLDER)
    command = ["node", "--test", "--test-reporter=spec", f"{name}.test.mjs"]
    finished = run(command, NODE_FOLDER, stack)
    assert finished.returncode == 0, finished.stdout[-20_000:] + finished.stderr[-2_000:]
    passed = re.search(r"pass (\d+)", finished.stdout)
    source = (NODE_SUITE / f"{name}.test.mjs").read_text()
    # Some tests are of several models.
    assert passed is not None
    assert int(passed[1]) >= len(re.findall(r"^ *test\(", source, flags=re.MULTILINE))


def run(command: list[Any], folder: Path, stack: Stack) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "OPENAI_BASE_URL": f"{stack.url}/v1",
        "OPENAI_API_KEY": stack.key,
        "CLIENTS_MODEL": BASE,
        "CLIENTS_ENCODER": ENCODER,
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
