"""The official Node SDK drives the live stack, by `node --test`."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, ROOT, Hooks, Stack
from tests.contract.test_webhooks import received

pytestmark = pytest.mark.live

HERE = Path(__file__).parent / "node"
CACHE = ROOT / ".venv" / "node"
ENCODER = "all-minilm-l6-v2"


@pytest.fixture(scope="module")
def installed() -> Path:
    """A folder with the SDK, as npm installs it, and our script."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on PATH: the Node SDK was not tried")
    CACHE.mkdir(exist_ok=True)
    for name in ("package.json", "sdk.test.mjs"):
        shutil.copy(HERE / name, CACHE)
    if not (CACHE / "node_modules" / "openai").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
        subprocess.run(command, cwd=CACHE, check=True, timeout=240)
    return CACHE


def test_every_route(installed: Path, stack: Stack, tuned: FineTuningJob, hooks: Hooks) -> None:
    headers, body = received(hooks, tuned.id)
    variables = {
        "BASE_URL": f"{stack.url}/v1",
        "API_KEY": stack.key,
        "ADMIN_KEY": (stack.home / "admin_key").read_text().strip(),
        "JOB": tuned.id,
        "MODEL": tuned.fine_tuned_model or "",
        "BASE": BASE,
        "ENCODER": ENCODER,
        "HOOK": hooks.endpoint_id,
        "HOOK_SECRET": hooks.secret,
        "HOOK_HEADERS": json.dumps(dict(headers)),
        "HOOK_BODY": body.decode(),
    }
    command = ["node", "--test", "--test-reporter=spec", "sdk.test.mjs"]
    done = subprocess.run(
        command,
        cwd=installed,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    passed = re.search(r"pass (\d+)", done.stdout)
    assert passed is not None
    assert int(passed[1]) == (HERE / "sdk.test.mjs").read_text().count("\ntest(")
