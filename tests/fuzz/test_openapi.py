"""Schemathesis against the served OpenAPI document: no 5xx, every answer documented, no request
without its key answered. See `make fuzz`.

The API is a real one over a real database, with projects, files, jobs and models in it, which most
requests name; behind it stands the engine's double, so that what is tried is the API.
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
from app.settings import Settings
from tests.conftest import ROOT
from tests.fuzz.scenario import Answering, make
from tests.live_server import run_server

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3000)]

CACHE = ROOT / ".venv" / "fuzz"
ADMINISTERED = "^/metrics|^/v1/organization|/permissions"
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
# What no made-up request can bring about: a receiver of webhooks, the id of an answer.
NEVER_200 = {
    "POST /v1/models/{model}/feedback",
    "POST /v1/webhook_endpoints/{endpoint_id}/test",
}


@dataclass(frozen=True)
class Served:
    url: str
    key: str
    admin_key: str
    folder: Path


@pytest.fixture(scope="module")
def packages() -> Path:
    """Schemathesis, with what it needs and we do not have."""
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
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("fuzz")
    with run_server(Answering().app()) as behind:
        settings = Settings(
            home=folder / "home",
            database_url=database_url,
            redis_url=redis_url,
            models_file=ROOT / "tests/models.toml",
            engine_url=behind,
            # The limits have tests of their own; here they would hide everything else.
            rate_limit_requests_per_minute=1_000_000,
            max_queued_jobs_per_project=1_000_000,
        )
        app = create_app(settings)
        with run_server(app) as url:
            database = create_database_engine(database_url, pool_size=2)
            with session_maker(database)() as session:
                party, seeds = make(session, url)
            database.dispose()
            (folder / "seeds.json").write_text(json.dumps(seeds))
            yield Served(url, party.secret, party.admin_secret, folder)


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


def test_what_is_documented_is_true(api: Served, packages: Path) -> None:
    cases = run(api, packages, api.key, "projects", "--exclude-path-regex", ADMINISTERED)
    cases += run(api, packages, api.admin_key, "administered", "--include-path-regex", ADMINISTERED)
    document = httpx.get(f"{api.url}/openapi.json").json()
    there = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    answers = (api.folder / "answers.txt").read_text().splitlines()
    answered = {line.removesuffix(" 200") for line in answers if line.endswith(" 200")}
    assert sorted(there - answered - NEVER_200) == [], "no success of these was checked"
    assert cases >= LEAST_CASES
