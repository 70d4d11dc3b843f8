"""Every screen: nothing moves while it loads, and it fits a phone. Script errors fail each test."""

import gzip
import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page
from sqlalchemy.orm import Session

from app.console import assets
from app.db.tables import Project
from app.http.console_cookie import COOKIE_NAME
from tests.app.console.conftest import find_accessibility_violations
from tests.app.console.test_files import BROKEN, GOOD, upload
from tests.app.console.test_job import make_finished_job
from tests.factories import make_job
from tests.live_api import Account, Api

# Of everything that a first page loads, compressed.
MAX_FIRST_PAGE_BYTES = 60_000
# Browsers call 0.1 good.
MAX_LAYOUT_SHIFT = 0.1
WIDTHS = (1440, 390)
LONG_NAME = "a-name-that-somebody-made-by-joining-all-the-numbers-of-a-run-0.0002-16-32"
SHIFT_SCRIPT = """
    window.shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries())
            if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({type: "layout-shift", buffered: true});
"""


@pytest.fixture
def paths(session: Session, account: Account, http: httpx.Client) -> list[str]:
    """Screens of a project with jobs and files, some of them with long names."""
    project = session.get_one(Project, account.principal.project_id)
    job = make_finished_job(session, project, suffix=LONG_NAME)
    waiting = make_job(session, project, suffix=LONG_NAME)
    session.commit()
    good, broken = upload(http, GOOD, f"{LONG_NAME}.jsonl"), upload(http, BROKEN)
    draft = f"training_file={good}&model=base&method=supervised"
    return [
        "/",
        "/files",
        f"/files/{good}",
        f"/files/{broken}",
        f"/files/{good}/leakage",
        *(f"/jobs/new?step={step}&{draft}" for step in ("data", "model", "numbers", "review")),
        "/jobs",
        f"/jobs/{job.id}",
        f"/jobs/{waiting.id}",
        f"/jobs/{job.id}/checkpoints",
        f"/compare?job={job.id}&job={waiting.id}",
        "/models",
        "/models/base",
        "/playground",
        "/evaluations",
        "/evaluations/import",
        "/settings/projects",
        f"/settings/projects/{project.id}",
        "/settings/admin-keys",
        "/settings/usage",
        "/settings/webhooks",
        "/settings/limits",
        "/settings/sessions",
        "/operate",
        "/login",
        "/nothing",
    ]


@pytest.mark.console
def test_screens_stand_still_and_fit_their_window(user: Page, paths: list[str]) -> None:
    user.add_init_script(SHIFT_SCRIPT)
    problems: list[str] = []
    for width in WIDTHS:
        user.set_viewport_size({"width": width, "height": 844})
        for path in paths:
            user.goto(f"/console{path}")
            # Charts are drawn, live updates come, and the parts that are loaded later.
            user.wait_for_timeout(800)
            shift = user.evaluate("window.shift")
            if shift > MAX_LAYOUT_SHIFT:
                problems.append(f"{path} at {width}: moved by {shift:.2f}")
            if user.evaluate("document.documentElement.scrollWidth > innerWidth"):
                problems.append(f"{path} at {width}: wider than the window")
    assert problems == []


@pytest.mark.console
def test_screens_are_accessible(user: Page, paths: list[str]) -> None:
    problems: list[str] = []
    for path in paths:
        user.goto(f"/console{path}")
        problems += [f"{path}: {each}" for each in find_accessibility_violations(user)]
    assert problems == []


@pytest.mark.parametrize("path", ["/console/login", "/console/"])
def test_the_first_pages_are_small(
    api: Api, account: Account, start_session: Callable[..., str], path: str
) -> None:
    secret = start_session(account.secret)
    cookies = {COOKIE_NAME: secret} if path != "/console/login" else {}
    page = httpx.get(api.url + path, cookies=cookies)
    names = set(re.findall(r"/static/[0-9a-f]{16}/([\w./-]+)", page.text))
    assert "console.css" in names
    files = sum(len(assets.load_assets()[name].compressed) for name in names)
    assert files + len(gzip.compress(page.content)) < MAX_FIRST_PAGE_BYTES
