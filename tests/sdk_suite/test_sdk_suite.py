"""The own tests of OpenAI's Python SDK against our API, run by `make sdk-suite`.

pip downloads the SDK's source, which contains the tests, and installs their requirements into a
separate folder. The API runs without trainers, and with a fake engine; `sdk_fixtures` inserts the
rows that the tests expect.
"""

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings
from tests.conftest import ROOT
from tests.live_server import FakeEngine, run_server

pytestmark = [pytest.mark.sdk_suite, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
CACHE = ROOT / ".venv" / "sdk-suite"
RESOURCES = Path("tests/api_resources")
TEST_PATHS = (
    "chat",
    "admin/organization/test_audit_logs.py",
    "admin/organization/test_usage.py",
    "conversations",
    "fine_tuning",
    "evals",
    "test_batches.py",
    "test_conversations.py",
    "test_evals.py",
    "test_files.py",
    "test_models.py",
    "test_uploads.py",
    "responses/test_input_items.py",
    "uploads",
)
# The others are not of a valid request here: responses and counts of tokens without a model and an
# input, those with a `prompt`, a conversation and a previous response at once, and compaction.
RESPONSE_TESTS = tuple(
    f"test_responses.py::{group}::test_{kind}_{method}"
    for group in ("TestResponses", "TestAsyncResponses")
    for method in (
        *("retrieve_overload_1", "retrieve_overload_2", "delete", "cancel"),
        *("retrieve_with_all_params_overload_1", "retrieve_with_all_params_overload_2"),
    )
    for kind in ("method", "raw_response", "streaming_response", "path_params")
    if kind == "method" or "all_params" not in method
)


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def source() -> Path:
    """The source of the installed version of the SDK."""
    name = f"openai-{version('openai')}"
    folder = CACHE / name
    if not folder.exists():
        options = ("--no-deps", "--no-binary", ":all:", "--dest", str(CACHE))
        pip("download", *options, name.replace("-", "=="))
        with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    return folder


@pytest.fixture(scope="module")
def packages() -> Path:
    """Folder with the packages that only the SDK's tests import."""
    folder = CACHE / "packages"
    if not folder.exists():
        options = ("--no-deps", "--target", str(folder))
        pip("install", *options, "--requirement", str(ROOT / "requirements/sdk-suite.lock"))
    return folder


@pytest.fixture(scope="module")
def engine_url() -> Iterator[str]:
    """URL of a fake engine."""
    with run_server(FakeEngine().app()) as url:
        yield url


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,
    redis_url: str,
    packages: Path,
    engine_url: str,
) -> Iterator[dict[str, str]]:
    """Serve the API; yields the environment of a process that runs the SDK's tests against it."""
    variables = {
        "LUTHIER_HOME": str(tmp_path_factory.mktemp("home")),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "LUTHIER_MODELS_FILE": str(HERE / "models.toml"),
        # Tests request W&B runs; without a trainer none is written.
        "WANDB_MODE": "offline",
        # The one that they name.
        "LUTHIER_WANDB_ALLOWED_ENTITIES": "entity",
        "LUTHIER_ENGINE_URL": engine_url,
    }
    app = create_app(
        Settings(
            **{name.removeprefix("LUTHIER_").lower(): value for name, value in variables.items()}
        )
    )
    with run_server(app) as url:
        python_path = os.pathsep.join(map(str, (HERE, ROOT, packages)))
        yield os.environ | variables | {"TEST_API_BASE_URL": f"{url}/v1", "PYTHONPATH": python_path}


def test_the_sdks_own_tests_pass(source: Path, environment: dict[str, str]) -> None:
    paths = [str(RESOURCES / name) for name in (*TEST_PATHS, *RESPONSE_TESTS)]
    options = [
        "-p",
        "sdk_fixtures",
        "--override-ini=addopts=",
        "-q",
        "-rfEs",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", *options, *paths]
    log = CACHE / "output.txt"
    with log.open("w") as output:
        status = subprocess.call(
            command, cwd=source, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    last = log.read_text().strip().splitlines()[-1]
    assert status == 0, f"{last}; see {log}"
    passed = re.search(r"(\d+) passed", last)
    assert passed is not None
    assert int(passed[1]) > 200, "too few tests were found"
    assert not re.search(r"deselected|xfailed", last), last
    skipped = re.findall(r"^SKIPPED .*", log.read_text(), flags=re.MULTILINE)
    # Skipped by the SDK itself: they use no server.
    assert all("not compatible with respx2_mock" in line for line in skipped), skipped
