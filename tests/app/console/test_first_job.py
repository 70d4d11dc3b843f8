"""A first job by mouse on the real service: from the link of an empty home to a running job."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.contract.running_stack import ROWS, Stack, chat_file, run_stack
from tests.faults.measurements import Measurements

pytestmark = [pytest.mark.console, pytest.mark.timeout(1200)]

# From the first click to the first step, which the trainer reports.
MAX_SECONDS = 60.0
RUNNING_MS = 300_000


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    # Not below pytest's folder: for root, Postgres runs as another user.
    home = Path(tempfile.mkdtemp(prefix="luthier-console-"))
    with run_stack(home, tmp_path / "up.log") as running:
        yield running
    shutil.rmtree(home)


def test_a_first_job_runs_within_a_minute(
    browser: Browser, stack: Stack, tmp_path: Path, measurements: Measurements
) -> None:
    (tmp_path / "desk.jsonl").write_bytes(chat_file(ROWS))
    page = browser.new_page()
    page.goto(create_link(stack))
    page.get_by_role("button", name="Open the console").click()
    started_at = time.monotonic()
    page.get_by_role("link", name="Start the first job").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Drop a file here").first.click()
    chooser.value.set_files(tmp_path / "desk.jsonl")
    for name in ("model", "hyperparameters", "review"):
        role = "link" if name == "model" else "button"
        page.get_by_role(role, name=f"Next: {name}").click()  # type: ignore[arg-type]
    page.get_by_role("button", name="Start the job").click()
    head = page.locator("#job-head")
    expect(head.locator(".state", has_text="Running")).to_be_visible(timeout=RUNNING_MS)
    seconds = [time.monotonic() - started_at]
    # Drawn without a reload.
    expect(page.locator("figure.chart canvas").first).to_be_visible(timeout=RUNNING_MS)
    seconds.append(time.monotonic() - started_at)
    measurements.add("console: first click to running", seconds[0], at_most=MAX_SECONDS)
    measurements.add("console: first click to its first curve", seconds[1])
    page.close()


def create_link(stack: Stack) -> str:
    """Create a one-time link, as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "console"],
        env=os.environ | {"LUTHIER_HOME": str(stack.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    link = re.search(r"http\S+/console/login\?code=\S+", done.stdout.replace("\n", ""))
    assert link is not None, done.stdout
    return link[0]
