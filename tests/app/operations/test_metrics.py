"""Service-wide Prometheus series."""

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Outbox, OutboxKind, TrainerState
from app.jobs import trainers
from app.operations import periodic_task_runs
from app.organization import admin_keys
from tests import http_client
from tests.factories import make_job
from tests.live_api import Api


def scrape(api: Api, session: Session) -> dict[tuple[str, str], float]:
    """Scrape /metrics; return samples by name and first label value."""
    key = admin_keys.ensure_working_key(session, "acme", "", user="root")
    session.commit()
    response = http_client.get(f"{api.url}/metrics", headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_jobs_periodic_tasks_outbox_and_trainers(api: Api, session: Session) -> None:
    make_job(session, run_after=clock.seconds_from_now(-90))
    for _ in range(2):
        make_job(session, state="succeeded")
    periodic_task_runs.record_success(session, {"validate": 5})
    trainers.record_heartbeat(session, "w", state=TrainerState.UNHEALTHY)
    session.add(Outbox(kind=OutboxKind.NOTIFY, payload={}))
    session.commit()
    samples = scrape(api, session)
    assert [samples["luthier_jobs", state] for state in ("queued", "succeeded", "failed")] == [
        1,
        2,
        0,
    ]
    assert 90 <= samples["luthier_oldest_queued_job_age_seconds", ""] < 600
    [status] = periodic_task_runs.list_task_statuses(session)
    succeeded_at = samples["luthier_periodic_task_last_success_timestamp_seconds", "validate"]
    assert abs(succeeded_at - status.last_succeeded_at.timestamp()) < 1e-3
    assert samples["luthier_periodic_task_interval_seconds", "validate"] == 5
    assert samples["luthier_outbox_pending", "notify"] == 1
    assert samples["luthier_trainers", "unhealthy"] == 1


def test_an_unhealthy_trainer_degrades_readiness(
    api: Api, engine: object, session: Session
) -> None:
    trainers.record_heartbeat(session, "w", state=TrainerState.UNHEALTHY)
    session.commit()
    response = httpx.get(f"{api.url}/readyz", timeout=120)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert not response.json()["checks"]["trainers"]["ok"]
