"""Take pictures of the console's screens, on a service that has just trained the example.

    python -m scripts.console_pictures FOLDER

Starts `luthier up --demo` in a temporary home, waits for its model, opens each screen in Chromium
in both themes at two widths, and writes FOLDER/SCREEN-THEME-WIDTH.png. It ends with status 1 if a
page had an error in its console or moved while it was being laid out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

from app.auth import console_sessions
from app.db.session import one_off_transaction
from app.http.console_cookie import COOKIE_NAME
from app.local.home import Home

SIZES: dict[str, ViewportSize] = {
    "1440": {"width": 1440, "height": 900},
    "390": {"width": 390, "height": 844},
}
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
READY_SECONDS = 600
# Of a page's parts that have moved, weighted by size and distance; browsers call 0.1 good.
MAX_LAYOUT_SHIFT = 0.1
SHIFT_SCRIPT = """
    window.shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries())
            if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({type: "layout-shift", buffered: true});
"""


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="luthier-pictures-") as home, _run_demo(home) as url:
        screens = _choose_screens(url, home)
        cookie = _log_in(home)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            problems = [
                problem
                for name, path in screens.items()
                for problem in _photograph(browser, url, cookie, name, path, folder)
            ]
            browser.close()
    sys.exit("\n".join(problems) or None)


@contextmanager
def _run_demo(home: str) -> Iterator[str]:
    """Run the service on a free port, and yield its URL once the example has been trained."""
    # For root, Postgres runs as another user.
    Path(home).chmod(0o711)
    port = os.environ.get("PORT", "8765")
    environment = os.environ | {"LUTHIER_HOME": f"{home}/home", "PORT": port}
    command = (sys.executable, "-m", "app.cli", "up", "--demo")
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as service:
        try:
            _wait_for_model(f"http://127.0.0.1:{port}", home)
            yield f"http://127.0.0.1:{port}"
        finally:
            service.terminate()


def _read_key(home: str) -> str:
    return Path(home, "home/api_key").read_text().strip()


def _get(url: str, home: str, path: str) -> Any:
    headers = {"authorization": f"Bearer {_read_key(home)}"}
    return httpx.get(url + path, headers=headers, timeout=60).raise_for_status().json()


def _wait_for_model(url: str, home: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        time.sleep(2)
        try:
            jobs = _get(url, home, "/v1/fine_tuning/jobs")["data"]
        except (httpx.HTTPError, FileNotFoundError):
            continue
        if jobs and jobs[0]["status"] == "succeeded":
            return
    raise TimeoutError("The example was not trained in time.")


def _choose_screens(url: str, home: str) -> dict[str, str]:
    """The path of each screen, by the name of its picture."""
    job = _get(url, home, "/v1/fine_tuning/jobs")["data"][0]
    model = job["fine_tuned_model"]
    return {
        "login": "/login",
        "home": "/",
        "files": "/files",
        "file": f"/files/{job['training_file']}?model={job['model']}",
        "new-job": "/jobs/new",
        "jobs": "/jobs",
        "job": f"/jobs/{job['id']}",
        "checkpoints": f"/jobs/{job['id']}/checkpoints",
        "evaluations": "/evaluations",
        "playground": f"/playground?model={model}",
        "compare": f"/compare?job={job['id']}",
        "models": "/models",
        "model": f"/models/{model}",
        "settings": "/settings/projects",
        "operate": "/operate",
    }


def _log_in(home: str) -> str:
    running = Home(Path(home, "home")).running_stack()
    assert running is not None
    keys = (_read_key(home), Path(home, "home/admin_key").read_text().strip())
    with one_off_transaction(running.database_url) as session:
        grant = None
        for key in keys:
            added = console_sessions.find_grant(session, key)
            assert added is not None
            grant = console_sessions.merge(grant, added)
        assert grant is not None
        return console_sessions.create(session, grant)


def _photograph(
    browser: Browser, url: str, cookie: str, name: str, path: str, folder: Path
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
                messages: list[ConsoleMessage] = []
                page.on("console", messages.append)
                page.goto(f"{url}/console{path}")
                page.wait_for_timeout(1500)
                errors = [message.text for message in messages if message.type == "error"]
                yield from (f"{label}: {error}" for error in errors)
                yield from _find_layout_problems(page, label)
                _save(page, folder / f"{label}.png")


def _save(page: Page, file: Path) -> None:
    page.screenshot(path=file)
    # A palette of 128 colours is enough for a page, and makes the file a third.
    Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)


def _find_layout_problems(page: Page, label: str) -> Iterator[str]:
    shift = page.evaluate("window.shift")
    if shift > MAX_LAYOUT_SHIFT:
        yield f"{label}: the layout moved by {shift:.2f}"
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        yield f"{label}: the page is wider than the window"


if __name__ == "__main__":
    main()
