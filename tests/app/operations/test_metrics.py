"""/metrics: what Prometheus reads, from any API process."""

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Outbox
from app.operations import periodic_tasks, trainers
from app.organization import admin_keys
from tests import http_client
from tests.factories import make_job
from tests.live_api import Api


def numbers(api: Api, session: Session) -> dict[tuple[str, str], float]:
    """The samples by name and label's value."""
    key = admin_keys.ensure_working_key(session, "acme", "")
    session.commit()
    answer = http_client.get(f"{api.url}/metrics", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_jobs_duties_deliveries_and_trainers(api: Api, session: Session) -> None:
    make_job(session, run_after=clock.seconds_from_now(-90))
    for _ in range(2):
        make_job(session, state="succeeded")
    periodic_tasks.record_success(session, {"validate": 5})
    trainers.heartbeat(session, "w", state="unhealthy")
    session.add(Outbox(kind="bell", payload={}))
    session.commit()
    shown = numbers(api, session)
    assert [shown["luthier_jobs", state] for state in ("queued", "succeeded", "failed")] == [
        1,
        2,
        0,
    ]
    assert 90 <= shown["luthier_queue_oldest_seconds", ""] < 600
    [standing] = periodic_tasks.task_statuses(session)
    done_at = shown["luthier_duty_last_success_timestamp_seconds", "validate"]
    assert abs(done_at - standing.last_succeeded_at.timestamp()) < 1e-3
    assert shown["luthier_duty_period_seconds", "validate"] == 5
    assert shown["luthier_outbox_waiting", "bell"] == 1
    assert shown["luthier_trainers", "unhealthy"] == 1


def test_an_unhealthy_trainer_is_told_of_and_the_service_is_ready(
    api: Api, engine: object, session: Session
) -> None:
    trainers.heartbeat(session, "w", state="unhealthy")
    session.commit()
    answer = httpx.get(f"{api.url}/readyz", timeout=120)
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert not answer.json()["checks"]["trainers"]["ok"]
