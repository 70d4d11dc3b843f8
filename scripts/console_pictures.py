"""Take pictures of the console's screens, on a service that has trained examples.

    python -m scripts.console_pictures build/console

Starts `luthier up` in a temporary home, fills it by `console_example`, opens each screen in
Chromium in both themes at two widths, and writes build/console/SCREEN-THEME-WIDTH.png. The ones
that the documentation shows are written to docs/assets/console too, as WebP. It ends with status 1
if a page had an error in its console, moved while it was laid out, or is wider than its window.

`--home` uses the service that runs in a home of your own, and fills it only if it has no jobs.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

from app.auth import console_sessions
from app.db.session import one_off_transaction
from app.http.console_cookie import COOKIE_NAME
from app.local.api_client import ApiClient, ApiFailed, connect
from app.local.home import Home
from scripts import console_example

DOCS_FOLDER = Path(__file__).resolve().parents[1] / "docs" / "assets" / "console"
# Shown by the documentation, in light at 1440.
DOCS_SCREENS = ("home", "file", "new-job", "job", "playground", "evaluation", "compare", "model")
SIZES: dict[str, ViewportSize] = {
    "1440": {"width": 1440, "height": 900},
    "390": {"width": 390, "height": 844},
}
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
READY_SECONDS = 600
ANSWER_MS = 60_000
# What follows the load of a page: charts, parts that are loaded later.
SETTLE_MS = 1200
# Of a page's parts that have moved, weighted by size and distance; browsers call 0.1 good.
MAX_LAYOUT_SHIFT = 0.1
SHIFT_SCRIPT = """
    window.shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries())
            if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({type: "layout-shift", buffered: true});
"""
QUESTION = "The bridge of my cello fell over and I have a concert on Friday. Can you help?"


@dataclass(frozen=True, slots=True)
class Screen:
    """A page, and what is done in it before its picture is taken."""

    path: str
    act: Callable[[Page], None] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--home", type=Path, help="home of a running service")
    parser.add_argument("--only", nargs="*", help="names of screens")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with _find_home(arguments.home) as home:
        problems = _take_pictures(home, arguments.folder, arguments.only)
    sys.exit("\n".join(problems) or None)


def _take_pictures(home: Path, folder: Path, only: list[str] | None) -> list[str]:
    running = Home(home).running_stack()
    assert running is not None
    with connect(running.url, home / "api_key") as api:
        if not api.get(console_example.JOBS)["data"]:
            console_example.fill(api)
        screens = _choose_screens(api)
    cookie = _log_in(running.database_url, home)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        problems = [
            problem
            for name, screen in screens.items()
            if not only or name in only
            for problem in _photograph(browser, running.url, cookie, name, screen, folder)
        ]
        browser.close()
    return problems


@contextmanager
def _find_home(home: Path | None) -> Iterator[Path]:
    """Yield the home of a running service: the given one, or that of a service of its own."""
    if home is not None:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="luthier-pictures-") as folder:
        # For root, Postgres runs as another user.
        Path(folder).chmod(0o711)
        own = Path(folder, "home")
        environment = {"PORT": "8765"} | os.environ | {"LUTHIER_HOME": str(own)}
        command = (sys.executable, "-m", "app.cli", "up")
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as service:
            try:
                _wait_until_ready(own, service)
                yield own
            finally:
                service.send_signal(signal.SIGINT)


def _wait_until_ready(home: Path, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        time.sleep(1)
        running = Home(home).running_stack() if home.exists() else None
        if running is None or not (home / "api_key").exists():
            continue
        try:
            with connect(running.url, home / "api_key") as api:
                if api.get("/readyz")["status"] == "ok":
                    return
        except ApiFailed:
            continue
    raise TimeoutError("The service did not start.")


def _choose_screens(api: ApiClient) -> dict[str, Screen]:
    """Choose the screens by the names of their pictures."""
    jobs = {job["user_provided_suffix"]: job for job in api.get(console_example.JOBS)["data"]}
    files = {file["filename"]: file["id"] for file in api.get("/v1/files")["data"]}
    workshop, other, classifier = (
        jobs[name] for name in ("workshop", "workshop-rank-4", "requests")
    )
    draft = (
        f"training_file={files['requests.train.jsonl']}&test_file={files['requests.test.jsonl']}"
        "&method=classification&model=all-minilm-l6-v2&n_epochs=4&suffix=requests"
    )
    evals = api.get("/v1/evals")["data"]
    run = api.get(f"/v1/evals/{evals[0]['id']}/runs")["data"][0]
    return {
        "login": Screen("/login"),
        "home": Screen("/"),
        "files": Screen("/files"),
        "file": Screen(f"/files/{workshop['training_file']}?model={workshop['model']}"),
        "file-labels": Screen(f"/files/{classifier['training_file']}"),
        "file-invalid": Screen(f"/files/{files['requests-from-the-shop.jsonl']}"),
        "leakage": Screen(
            f"/files/{classifier['test_file']}/leakage?training_file={classifier['training_file']}"
        ),
        "new-job-data": Screen(f"/jobs/new?step=data&{draft}"),
        "new-job-model": Screen(f"/jobs/new?step=model&{draft}"),
        "new-job": Screen(f"/jobs/new?step=numbers&{draft}", _open_reasons),
        "new-job-review": Screen(f"/jobs/new?step=review&{draft}"),
        "jobs": Screen("/jobs"),
        "job": Screen(f"/jobs/{other['id']}"),
        "job-running": Screen(f"/jobs/{jobs['english-german-long']['id']}"),
        "job-paused": Screen(f"/jobs/{jobs['english-german-draft']['id']}"),
        "checkpoints": Screen(f"/jobs/{workshop['id']}/checkpoints", _ask_all),
        "evaluations": Screen("/evaluations"),
        "evaluation": Screen(f"/evaluations/jobs/{classifier['id']}"),
        "eval": Screen(f"/evaluations/evals/{evals[0]['id']}"),
        "eval-run": Screen(f"/evaluations/evals/{evals[0]['id']}/runs/{run['id']}"),
        "playground": Screen(
            f"/playground?model={workshop['model']}&model={workshop['fine_tuned_model']}", _ask
        ),
        "playground-classifier": Screen(
            f"/playground?model={classifier['fine_tuned_model']}", _classify
        ),
        "compare": Screen(f"/compare?job={workshop['id']}&job={other['id']}"),
        "models": Screen("/models"),
        "model": Screen(f"/models/{classifier['fine_tuned_model']}"),
        "model-base": Screen(f"/models/{workshop['model']}"),
        "settings": Screen("/settings/projects"),
        "settings-project": Screen("/settings/projects", _open_project),
        "settings-keys": Screen("/settings/admin-keys"),
        "settings-usage": Screen("/settings/usage"),
        "settings-webhooks": Screen("/settings/webhooks"),
        "settings-limits": Screen("/settings/limits"),
        "settings-sessions": Screen("/settings/sessions"),
        "operate": Screen("/operate"),
        "missing": Screen("/jobs/ftjob-nothing"),
    }


def _open_reasons(page: Page) -> None:
    page.get_by_text("What auto chooses, and why").click(timeout=ANSWER_MS)


def _ask_all(page: Page) -> None:
    page.get_by_role("button", name="Ask all").click()
    page.locator("#stop-all:disabled").wait_for(timeout=ANSWER_MS)


def _ask(page: Page) -> None:
    page.locator("#probabilities").check()
    page.locator("#message").fill(QUESTION)
    _send(page)


def _classify(page: Page) -> None:
    page.locator("#text").fill("A seam of my viola opened, and I play on Friday.")
    _send(page)


def _send(page: Page) -> None:
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#stop:disabled").wait_for(timeout=ANSWER_MS)


def _open_project(page: Page) -> None:
    page.locator("main tbody a").first.click()


def _log_in(database_url: str, home: Path) -> str:
    keys = [(home / name).read_text().strip() for name in ("api_key", "admin_key")]
    with one_off_transaction(database_url) as session:
        grant = None
        for key in keys:
            added = console_sessions.find_grant(session, key)
            assert added is not None
            grant = added if grant is None else console_sessions.merge(grant, added)
        assert grant is not None
        return console_sessions.create(session, grant)


def _photograph(
    browser: Browser, url: str, cookie: str, name: str, screen: Screen, folder: Path
) -> Iterator[str]:
    """Take a screen's pictures; yields sentences about what is wrong with it."""
    for theme in THEMES:
        for width, size in SIZES.items():
            label = f"{name}-{theme}-{width}"
            with browser.new_context(viewport=size, color_scheme=theme) as context:
                if name != "login":
                    context.add_cookies(
                        [{"name": COOKIE_NAME, "value": cookie, "url": f"{url}/console"}]
                    )
                page = context.new_page()
                page.add_init_script(SHIFT_SCRIPT)
                errors: list[str] = []
                page.on("console", _collect_errors(errors))
                page.goto(f"{url}/console{screen.path}")
                page.wait_for_timeout(SETTLE_MS)
                yield from _find_layout_problems(page, label)
                if screen.act is not None:
                    screen.act(page)
                    page.wait_for_timeout(SETTLE_MS)
                yield from (f"{label}: {error}" for error in errors)
                _save(page, folder / f"{label}.png")
                if name in DOCS_SCREENS and (theme, width) == ("light", "1440"):
                    _save_for_docs(page, DOCS_FOLDER / f"{name}.webp")


def _save(page: Page, file: Path) -> None:
    page.screenshot(path=file, full_page=True)


def _save_for_docs(page: Page, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = file.with_suffix(".png")
    page.screenshot(path=picture)
    Image.open(picture).convert("RGB").save(file, quality=82, method=6)
    picture.unlink()


def _collect_errors(errors: list[str]) -> Callable[[ConsoleMessage], None]:
    def collect(message: ConsoleMessage) -> None:
        # A status of the server, such as that of a page that does not exist, is none of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            errors.append(message.text)

    return collect


def _find_layout_problems(page: Page, label: str) -> Iterator[str]:
    shift: Any = page.evaluate("window.shift")
    if shift > MAX_LAYOUT_SHIFT:
        yield f"{label}: the layout moved by {shift:.2f}"
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        yield f"{label}: the page is wider than the window"


if __name__ == "__main__":
    main()
