"""The tests that OpenAI's Python SDK has of itself, pointed at our API. See `make sdk-suite`.

They come with the SDK's source, which is fetched from where pip fetches packages; so is what they
need beside pytest, into a folder of its own. The API is a real one, with nothing behind it: what
they ask for is in the database (`seeds`), and nobody trains the jobs they make.
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
from tests.live_server import run_server

pytestmark = [pytest.mark.sdk_suite, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
CACHE = ROOT / ".venv" / "sdk-suite"
RESOURCES = Path("tests/api_resources")
SUITES = ("fine_tuning", "test_files.py", "test_uploads.py", "uploads", "test_models.py")


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def source() -> Path:
    """The SDK's source, of the version that is installed."""
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
    """What the SDK's tests import and ours do not."""
    folder = CACHE / "packages"
    if not folder.exists():
        options = ("--no-deps", "--target", str(folder))
        pip("install", *options, "--requirement", str(ROOT / "requirements/sdk-suite.lock"))
    return folder


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, redis_url: str, packages: Path
) -> Iterator[dict[str, str]]:
    """A served API, as the settings of a process that seeds it and asks it."""
    variables = {
        "LUTHIER_HOME": str(tmp_path_factory.mktemp("home")),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "LUTHIER_MODELS_FILE": str(HERE / "models.toml"),
        # They ask for a run there; nobody trains, so none is written.
        "WANDB_MODE": "offline",
    }
    app = create_app(Settings(**{name.lower(): value for name, value in variables.items()}))
    with run_server(app) as url:
        paths = os.pathsep.join(map(str, (HERE, ROOT, packages)))
        yield os.environ | variables | {"TEST_API_BASE_URL": f"{url}/v1", "PYTHONPATH": paths}


def test_the_sdks_own_tests_pass(source: Path, environment: dict[str, str]) -> None:
    suites = [str(RESOURCES / name) for name in SUITES]
    ours = [
        "-p",
        "seeds",
        "--override-ini=addopts=",
        "-q",
        "-rfEs",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", *ours, *suites]
    log = CACHE / "output.txt"
    with log.open("w") as output:
        status = subprocess.call(
            command, cwd=source, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    last = log.read_text().strip().splitlines()[-1]
    assert status == 0, f"{last}; see {log}"
    passed = re.search(r"(\d+) passed", last)
    assert passed is not None
    assert int(passed[1]) > 200, "too few of them were found"
    assert not re.search(r"deselected|xfailed", last), last
    skipped = re.findall(r"^SKIPPED .*", log.read_text(), flags=re.MULTILINE)
    # By the SDK itself: they ask nothing of a server.
    assert all("not compatible with respx2_mock" in line for line in skipped), skipped
