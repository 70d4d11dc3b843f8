"""`luthier evals import`: a file is imported through the API of a running service."""

import json
from pathlib import Path

import httpx

from app.local.home import Home
from app.settings import Settings
from tests.app.eval_imports.test_routes import HELLO_CONFIG
from tests.app.test_cli import Luthier, luthier
from tests.live_api import Account, Api

__all__ = ["luthier"]


def test_import(
    luthier: Luthier, api: Api, account: Account, http: httpx.Client, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(account.secret + "\n")
    assertions = [{"type": "regex", "value": "a"}, {"type": "equals", "value": "x"}]
    file = tmp_path / "promptfooconfig.json"
    file.write_text(json.dumps(HELLO_CONFIG | {"tests": [{"assert": assertions}]}))
    options = ("--url", api.url, "--key-file", str(key))
    done = luthier("evals", "import", str(file), *options)
    (row,) = http.get("/v1/evals").json()["data"]
    (items,) = http.get("/v1/files").json()["data"]
    assert done.stdout.splitlines() == [
        f"{row['id']}  promptfoo  1 criteria  items in {items['id']}  "
        "1 runs to create (--json shows them)",
        "left out: regex in tests[0].assert[0]: No criterion means the same.",
    ]
    printed = luthier("evals", "import", str(file), "--json", *options)
    assert json.loads(printed.stdout)["data"][0]["runs"][0]["data_source"]["model"] == "base"

    file.write_text("[]")
    refused = luthier("evals", "import", str(file), *options)
    assert refused.returncode == 1
    # A sentence, not the JSON around it.
    assert refused.stderr == ("The service returned 400: Nothing of 'content' can be imported.\n")
    unknown = luthier("evals", "import", str(file), "--format", "openai", "--judge-model", "x")
    assert (unknown.returncode, unknown.stderr.startswith("No API key in ")) == (1, True)
    missing = luthier("evals", "import", str(tmp_path / "none"), *options)
    assert (missing.returncode, "cannot be read" in missing.stderr) == (1, True)
    file.write_bytes(b"\xff")
    assert "not a text in UTF-8" in luthier("evals", "import", str(file), *options).stderr
    file.write_text("ä" * (2**21 + 1))
    assert (
        "more than 1,048,576 characters" in luthier("evals", "import", str(file), *options).stderr
    )


def test_a_running_home_is_asked_at_its_own_url(
    luthier: Luthier,
    settings: Settings,
    api: Api,
    account: Account,
    http: httpx.Client,
    tmp_path: Path,
) -> None:
    """Whatever PORT is: it may have been another one when the service was started."""
    home = Home(settings.home)
    home.record_stack(api.url, "postgresql://unused", "redis://unused")
    key = tmp_path / "key"
    key.write_text(account.secret)
    file = tmp_path / "promptfooconfig.json"
    file.write_text(json.dumps(HELLO_CONFIG))
    done = luthier("evals", "import", str(file), "--key-file", str(key))
    assert done.returncode == 0, done.stderr
    assert http.get("/v1/evals").json()["data"]


def test_the_key_of_a_home_is_not_sent_to_another_url(luthier: Luthier, tmp_path: Path) -> None:
    file = tmp_path / "evals.json"
    file.write_text("[]")
    refused = luthier("evals", "import", str(file), "--url", "http://127.0.0.1:1")
    assert refused.returncode == 1
    assert "--url needs --key-file" in refused.stderr
