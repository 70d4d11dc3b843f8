"""Schemathesis against the served OpenAPI document, run by `make fuzz`.

Checks that no response is a 5xx, that every response is documented, and that keys are required. The
API runs over a real database with projects, files, jobs and models, and in front of a fake engine.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.db.session import create_database_engine, session_maker
from app.main import create_app
from app.operations import storage_identity
from app.settings import Settings
from app.storage import open_store
from tests.conftest import ROOT
from tests.fuzz.scenario import DocumentedEngine, make_seeds
from tests.live_server import run_server

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3000)]

CACHE = ROOT / ".venv" / "fuzz"
ADMIN_PATHS = "^/metrics|^/v1/organization|/permissions"
# Its response has no end (tests/app/changes/test_feed.py).
ENDLESS_PATHS = "^/v1/changes$"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)
# Requests per operation and phase; both runs together make more than 10,000.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
MIN_CASES = 10_000
# Generated requests cannot have a webhook receiver, or the id of a response.
NEVER_200 = {
    "POST /v1/models/{model}/feedback",
    "POST /v1/webhook_endpoints/{endpoint_id}/test",
}


@dataclass(frozen=True)
class ServedApi:
    """The API under test: its URL, keys, and the folder shared with the hooks."""

    url: str
    key: str
    admin_key: str
    folder: Path


@pytest.fixture(scope="module")
def packages() -> Path:
    """Folder with schemathesis and those of its requirements that we do not install."""
    folder = CACHE / "packages"
    if not folder.exists():
        options = ("--quiet", "--no-deps", "--target", str(folder))
        requirements = str(ROOT / "requirements/fuzz.lock")
        command = [sys.executable, "-m", "pip", "install", *options, "--requirement", requirements]
        subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, redis_url: str
) -> Iterator[ServedApi]:
    folder = tmp_path_factory.mktemp("fuzz")
    with run_server(DocumentedEngine().app()) as engine_url:
        settings = Settings(
            home=folder / "home",
            database_url=database_url,
            redis_url=redis_url,
            models_file=ROOT / "tests/models.toml",
            engine_url=engine_url,
            # Limits are tested elsewhere; here they would hide all other responses.
            rate_limit_requests_per_minute=1_000_000,
            max_queued_jobs_per_project=1_000_000,
        )
        app = create_app(settings)
        with run_server(app) as url:
            database = create_database_engine(database_url, pool_size=2)
            # Before there are rows whose objects the storage does not have.
            storage_identity.adopt(session_maker(database), open_store(settings))
            with session_maker(database)() as session:
                tenant, seeds = make_seeds(session, url)
            database.dispose()
            (folder / "seeds.json").write_text(json.dumps(seeds))
            yield ServedApi(url, tenant.secret, tenant.admin_secret, folder)


def run_schemathesis(api: ServedApi, packages: Path, key: str, name: str, *filters: str) -> int:
    """Run schemathesis; the number of generated cases. Fails if a check failed."""
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
            env=os.environ
            | {
                "PYTHONPATH": f"{packages}{os.pathsep}{Path(__file__).parent}",
                "SCHEMATHESIS_HOOKS": "hooks",
                "FUZZ_FOLDER": str(api.folder),
            },
            cwd=CACHE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    text = log.read_text()
    assert status == 0, f"{text[-6000:]}\nsee {log}"
    return sum(int(count) for count in re.findall(r"(\d[\d,]*) generated", text.replace(",", "")))


def test_responses_conform_to_the_openapi_document(api: ServedApi, packages: Path) -> None:
    cases = run_schemathesis(
        api,
        packages,
        api.key,
        "projects",
        "--exclude-path-regex",
        f"{ADMIN_PATHS}|{ENDLESS_PATHS}",
    )
    cases += run_schemathesis(
        api, packages, api.admin_key, "admin", "--include-path-regex", ADMIN_PATHS
    )
    document = httpx.get(f"{api.url}/openapi.json").json()
    operations = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if not re.search(ENDLESS_PATHS, path)
    }
    responses = (api.folder / "responses.txt").read_text().splitlines()
    succeeded = {line.removesuffix(" 200") for line in responses if line.endswith(" 200")}
    assert sorted(operations - succeeded - NEVER_200) == [], "these never succeeded"
    assert cases >= MIN_CASES
