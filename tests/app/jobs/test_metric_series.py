"""Metrics of a job as columns: all of a short job's, and of a long one those that a chart shows."""

from typing import Any

import httpx
import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.db.tables import Job, JobMetric, Project
from app.jobs import metric_series
from tests.app.http.test_admission import expect_error
from tests.factories import make_job
from tests.live_api import Account


@pytest.fixture
def job(session: Session, account: Account) -> Job:
    project = session.get_one(Project, account.principal.project_id)
    job = make_job(session, project, state="running", attempt=2, total_steps=5000)
    session.commit()
    return job


def add_steps(session: Session, job: Job, values: dict[int, dict[str, Any]]) -> None:
    rows = [
        {"job_id": job.id, "step": step, "attempt": 1, "values": each}
        for step, each in values.items()
    ]
    session.execute(JobMetric.__table__.insert(), rows)  # type: ignore[attr-defined]
    session.commit()


def get_metrics(http: httpx.Client, job: Job, **params: int) -> dict[str, Any]:
    answer = http.get(f"/v1/fine_tuning/jobs/{job.id}/metrics", params=params)
    assert answer.status_code == 200, answer.text
    metrics: dict[str, Any] = answer.json()
    return metrics


def test_all_points_of_a_short_job(http: httpx.Client, session: Session, job: Job) -> None:
    steps = {n: {"train_loss": 1 / n} for n in (1, 2, 3, 7)}
    steps[7]["valid_loss"] = 2
    add_steps(session, job, steps)
    # Of another job with the same steps.
    add_steps(session, make_job(session), {2: {"train_loss": 9}})
    assert get_metrics(http, job) == {
        "object": "fine_tuning.job.metrics",
        "job_id": job.id,
        "attempt": 2,
        "total_steps": 5000,
        "last_step": 7,
        "step_count": 4,
        "is_downsampled": False,
        "series": {
            "train_loss": {"steps": [1, 2, 3, 7], "values": [1, 1 / 2, 1 / 3, 1 / 7]},
            "valid_loss": {"steps": [7], "values": [2]},
        },
    }


def test_points_after_a_step(http: httpx.Client, session: Session, job: Job) -> None:
    assert get_metrics(http, job)["series"] == {}
    add_steps(session, job, {n: {"train_loss": n} for n in (1, 2, 3)})
    metrics = get_metrics(http, job, after_step=2)
    assert metrics["series"] == {"train_loss": {"steps": [3], "values": [3]}}
    rest = get_metrics(http, job, after_step=metrics["last_step"])
    assert (rest["series"], rest["last_step"], rest["step_count"]) == ({}, 3, 0)


def test_a_long_job_keeps_every_peak_and_both_ends(
    http: httpx.Client, session: Session, job: Job
) -> None:
    values = {n: {"train_loss": 1.0 + n % 7} for n in range(1, 5001)}
    values[1234] = {"train_loss": 99.0}
    values[4321] = {"train_loss": -99.0}
    for step in (2500, 5000):
        values[step]["valid_loss"] = step
    add_steps(session, job, values)
    metrics = get_metrics(http, job, max_points=100)
    assert (metrics["is_downsampled"], metrics["step_count"]) == (True, 5000)
    loss = metrics["series"]["train_loss"]
    assert 50 <= len(loss["steps"]) <= 100
    assert loss["steps"] == sorted(set(loss["steps"]))
    assert (loss["steps"][0], loss["steps"][-1]) == (1, 5000)
    points = dict(zip(loss["steps"], loss["values"], strict=True))
    assert (points[1234], points[4321]) == (99.0, -99.0)
    assert all(values[step]["train_loss"] == value for step, value in points.items())
    assert metrics["series"]["valid_loss"] == {"steps": [2500, 5000], "values": [2500, 5000]}


def test_a_metric_that_old_steps_get_while_they_are_read(
    session: Session, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_steps(session, job, {n: {"train_loss": 1, "valid_loss": 2} for n in range(1, 101)})
    monkeypatch.setattr(metric_series, "_list_names", lambda *_: ["train_loss"])
    curves = metric_series.read_curves(session, job.id, after_step=0, max_points=20)
    assert set(curves.points) == {"train_loss"}


def test_metrics_that_are_deleted_while_they_are_read(
    session: Session, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_steps(session, job, {n: {"train_loss": 1} for n in range(1, 101)})
    read_rows = metric_series._read_rows

    def read_and_delete(*args: Any, **options: Any) -> Any:
        rows = read_rows(*args, **options)
        session.execute(delete(JobMetric))
        return rows

    monkeypatch.setattr(metric_series, "_read_rows", read_and_delete)
    curves = metric_series.read_curves(session, job.id, after_step=3, max_points=20)
    assert (curves.points, curves.count) == ({}, 0)


@pytest.mark.parametrize("query", ["after_step=-1", "max_points=3", "max_points=10001"])
def test_rejects_values_out_of_bounds(http: httpx.Client, job: Job, query: str) -> None:
    answer = http.get(f"/v1/fine_tuning/jobs/{job.id}/metrics?{query}")
    assert expect_error(answer, 400)["param"] == query.partition("=")[0]
