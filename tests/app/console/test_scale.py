"""The pages of jobs with 2,000 jobs and 100,000 steps, compared with the API's calls."""

import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.tables import Job, Project
from app.http.console_cookie import COOKIE_NAME
from tests.factories import make_file, make_job
from tests.faults.measurements import Measurements
from tests.live_api import Account, Api

JOBS = 2000
STEPS = 100_000
REPEATS = 10
# Server time of a page, as the reader of a list waits for it.
MAX_MILLISECONDS = 300

pytestmark = pytest.mark.console


@pytest.fixture
def job(session: Session, account: Account) -> Job:
    """The newest of 2,000 jobs, with five metrics of 100,000 steps."""
    project = session.get_one(Project, account.principal.project_id)
    file = make_file(session, project)
    states = ("succeeded", "failed", "cancelled", "queued")
    for number in range(JOBS - 1):
        state = states[number % len(states)]
        values = {"suffix": f"run {number}", "error_message": "No.", "training_file_id": file.id}
        make_job(session, project, state=state, **values)
    job = make_job(session, project, state="running", total_steps=STEPS, training_file_id=file.id)
    # On a busy machine it takes longer than a statement may.
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(
        text(
            """INSERT INTO job_metrics (job_id, step, attempt, "values")
            SELECT :id, s, 1, jsonb_build_object('train_loss', 2 / sqrt(s) + random() / 9,
            'train_mean_token_accuracy', random(), 'grad_norm', random(), 'learning_rate', 1 / s,
            'valid_loss', random()) FROM generate_series(1, :steps) s"""
        ),
        {"id": job.id, "steps": STEPS},
    )
    session.commit()
    session.execute(text("ANALYZE job_metrics"))
    session.commit()
    return job


def test_pages_stay_usable(
    user: Page,
    api: Api,
    job: Job,
    http: httpx.Client,
    account: Account,
    start_session: Callable[..., str],
    measurements: Measurements,
) -> None:
    calls = {
        "/jobs": "/v1/fine_tuning/jobs?limit=50&include[]=progress",
        "/jobs?search=run+19": "/v1/fine_tuning/jobs?limit=50&include[]=progress&search=run+19",
        f"/jobs/{job.id}": f"/v1/fine_tuning/jobs/{job.id}?include[]=progress",
        f"/jobs/{job.id}/curves": f"/v1/fine_tuning/jobs/{job.id}/metrics",
        f"/compare?job={job.id}": f"/v1/fine_tuning/jobs/{job.id}?include[]=progress",
        f"/compare/curves?job={job.id}": f"/v1/fine_tuning/jobs/{job.id}/metrics?max_points=600",
    }
    cookies = {COOKIE_NAME: start_session(account.secret)}
    with httpx.Client(base_url=f"{api.url}/console", cookies=cookies) as console:
        for page, call in calls.items():
            name = page.replace(job.id, "{id}")
            for label, client, path in (("page", console, page), ("its API call", http, call)):
                milliseconds = [_measure(client, path) for _ in range(REPEATS)]
                title = f"console: {name}, {label}"
                measurements.add(title, *milliseconds, unit="ms", at_most=MAX_MILLISECONDS)
    user.goto(f"/console/jobs/{job.id}")
    expect(user.locator("figure.chart").first.locator("canvas")).to_be_visible()
    charts = "chartsOf(document.querySelector('[data-charts]')).data.charts"
    points = user.evaluate(f"{charts}.flatMap((c) => c.series.map((s) => s.steps.length))")
    assert all(500 < count < 5000 for count in points), points
    user.goto(f"/console/compare?job={job.id}")
    expect(user.locator("figure.chart").first.locator("canvas")).to_be_visible()
    user.goto("/console/jobs")
    expect(user.locator("tbody tr")).to_have_count(50)


def _measure(client: httpx.Client, path: str) -> float:
    """Time a request in milliseconds."""
    started_at = time.perf_counter()
    response = client.get(path)
    assert response.status_code == 200, response.text
    return 1000 * (time.perf_counter() - started_at)
