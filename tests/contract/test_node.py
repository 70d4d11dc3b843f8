"""The official Node SDK against the live stack, run by `node --test`."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, ROOT, Stack, WebhookEndpoint
from tests.contract.test_webhooks import wait_for_webhook

pytestmark = pytest.mark.live

HERE = Path(__file__).parent / "node"
CACHE = ROOT / ".venv" / "node"
ENCODER = "all-minilm-l6-v2"


@pytest.fixture(scope="module")
def sdk_folder() -> Path:
    """Folder with the SDK, installed by npm, and the test script."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on PATH; the Node SDK was not tested")
    lock, installed = HERE / "package-lock.json", CACHE / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        shutil.rmtree(CACHE, ignore_errors=True)
        shutil.copytree(HERE, CACHE)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=CACHE, check=True, timeout=240)
        shutil.copy(lock, installed)
    shutil.copy(HERE / "sdk.test.mjs", CACHE)
    return CACHE


def test_the_node_sdk_can_use_every_route(
    sdk_folder: Path, stack: Stack, succeeded_job: FineTuningJob, webhook_endpoint: WebhookEndpoint
) -> None:
    headers, body = wait_for_webhook(webhook_endpoint, succeeded_job.id)
    variables = {
        "BASE_URL": f"{stack.url}/v1",
        "API_KEY": stack.key,
        "ADMIN_KEY": (stack.home / "admin_key").read_text().strip(),
        "JOB": succeeded_job.id,
        "MODEL": succeeded_job.fine_tuned_model or "",
        "BASE": BASE,
        "ENCODER": ENCODER,
        "HOOK": webhook_endpoint.endpoint_id,
        "HOOK_SECRET": webhook_endpoint.secret,
        "HOOK_HEADERS": json.dumps(dict(headers)),
        "HOOK_BODY": body.decode(),
    }
    command = ["node", "--test", "--test-reporter=spec", "sdk.test.mjs"]
    result = subprocess.run(
        command,
        cwd=sdk_folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-12_000:] + result.stderr[-2_000:]
    passed = re.search(r"pass (\d+)", result.stdout)
    assert passed is not None
    assert int(passed[1]) == (HERE / "sdk.test.mjs").read_text().count("\ntest(")
