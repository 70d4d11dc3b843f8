"""Schemathesis against the served OpenAPI document: no 5xx, every answer documented, no request
without its key answered. See `make fuzz`.

The API is a real one over a real database, with projects, files, jobs and models in it; behind it
stands the engine's double, so that what is tried is the API.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.db.session import connect, session_maker, transaction
from app.main import create_app
from app.services import admin_keys, keys
from app.settings import Settings
from tests.app.api.serving import Engine, served
from tests.conftest import ROOT
from tests.rows import make_job

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3000)]

CACHE = ROOT / ".venv" / "fuzz"
ADMINISTERED = "^/v1/organization|/permissions"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)
# Requests for each operation and phase; both runs together make more than 10,000.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
LEAST_CASES = 10_000


@dataclass(frozen=True)
class Served:
    url: str
    key: str
    admin_key: str


@pytest.fixture(scope="module")
def packages() -> Path:
    """Schemathesis, with what it needs and we do not have."""
    folder = CACHE / "packages"
    if not folder.exists():
        options = ("--quiet", "--no-deps", "--target", str(folder))
        requirements = str(Path(__file__).with_name("requirements.txt"))
        command = [sys.executable, "-m", "pip", "install", *options, "--requirement", requirements]
        subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, redis_url: str
) -> Iterator[Served]:
    engine = Engine()
    settings = {
        "luthier_home": tmp_path_factory.mktemp("home"),
        "database_url": database_url,
        "redis_url": redis_url,
        "models_file": ROOT / "tests/app/api/models.toml",
        # The limits have tests of their own; here they would hide everything else.
        "requests_per_minute": 0,
    }
    known = {name: value for name, value in settings.items() if name in Settings.model_fields}
    database = connect(database_url, pool_size=2)
    with transaction(session_maker(database)) as session:
        project = keys.ensure_default_project(session, "acme")
        key = keys.create(session, project.id, "fuzz")[1]
        admin_key = admin_keys.create(session, project.organization_id, "fuzz")[1]
        make_job(session, project)
    database.dispose()
    with served(engine.app()) as behind:
        app = create_app(Settings(**known, engine_url=behind))
        with served(app) as url:
            yield Served(url, key, admin_key)


def run(api: Served, packages: Path, key: str, name: str, *filters: str) -> int:
    """The number of cases tried. Fails if a check of one did."""
    log = CACHE / f"{name}.txt"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES)),
        *("--phases", "examples,coverage,fuzzing", "--header", f"Authorization: Bearer {key}"),
        *("--suppress-health-check", "all", "--continue-on-failure", "--seed", "1"),
        *("--request-timeout", "30", "--warnings", "off", *filters),
    ]
    with log.open("w") as output:
        status = subprocess.call(
            command,
            env=os.environ | {"PYTHONPATH": str(packages)},
            cwd=CACHE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    text = log.read_text()
    assert status == 0, f"{text[-6000:]}\nsee {log}"
    return sum(int(count) for count in re.findall(r"(\d[\d,]*) generated", text.replace(",", "")))


def test_what_is_documented_is_true(api: Served, packages: Path) -> None:
    cases = run(api, packages, api.key, "projects", "--exclude-path-regex", ADMINISTERED)
    cases += run(api, packages, api.admin_key, "administered", "--include-path-regex", ADMINISTERED)
    assert cases >= LEAST_CASES
