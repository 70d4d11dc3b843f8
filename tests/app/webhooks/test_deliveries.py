"""Webhook deliveries are enqueued if and only if the end of their job commits."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import SessionMaker
from app.db.tables import Job, JobState, Outbox, WebhookDelivery, WebhookEndpoint
from app.jobs import lifecycle, states
from app.jobs.failures import JobFailure
from app.webhooks import deliveries, endpoints
from app.webhooks.schemas import CreateEndpoint, EventType
from tests.factories import make_job, make_project

EVENT_TYPES: list[EventType] = [
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
]


def add_endpoint(
    session: Session, job: Job, url: str = "https://hooks.example/", **changes: Any
) -> WebhookEndpoint:
    body = CreateEndpoint(**{"name": "ends", "url": url, "event_types": EVENT_TYPES, **changes})
    return endpoints.create(session, job.project_id, body, lambda _: None)


def list_deliveries(session: Session) -> list[WebhookDelivery]:
    return list(session.scalars(select(WebhookDelivery)))


class TestEnqueueing:
    @pytest.mark.parametrize(
        ("source", "to"),
        [
            (JobState.FINALIZING, JobState.SUCCEEDED),
            (JobState.RUNNING, JobState.FAILED),
            (JobState.QUEUED, JobState.CANCELLED),
        ],
    )
    def test_every_terminal_state_sends_an_event(
        self, session: Session, source: JobState, to: JobState
    ) -> None:
        job = make_job(session, state=source, finished_at=datetime(2026, 1, 2, tzinfo=UTC))
        endpoint = add_endpoint(session, job)
        states.transition(session, job.id, to=to)
        (delivery,) = list_deliveries(session)
        assert delivery.endpoint_id == endpoint.id
        assert json.loads(delivery.body) == {
            "id": delivery.event_id,
            "object": "event",
            "created_at": 1767312000,
            "type": f"fine_tuning.job.{to}",
            "data": {"id": job.id},
        }
        assert delivery.event_id.startswith("evt_")
        notification = session.scalars(select(Outbox)).one()
        assert notification.payload == {"task": "deliver", "job_id": job.id}

    def test_other_transitions_send_none(self, session: Session) -> None:
        job = make_job(session, state="running")
        add_endpoint(session, job)
        for to in (JobState.PAUSING, JobState.PAUSED, JobState.QUEUED):
            assert states.transition(session, job.id, to=to) is not None
        assert list_deliveries(session) == []

    def test_an_illegal_transition_sends_none(self, session: Session) -> None:
        job = make_job(session, state="succeeded")
        add_endpoint(session, job)
        assert states.transition(session, job.id, to=JobState.CANCELLED) is None
        assert list_deliveries(session) == []

    def test_a_rollback_removes_the_deliveries(self, sessions: SessionMaker) -> None:
        with sessions() as session:
            job = make_job(session)
            add_endpoint(session, job)
            session.commit()
            lifecycle.cancel(session, job.project_id, job.id)
            session.rollback()
            assert list_deliveries(session) == []

    def test_only_enabled_subscribed_endpoints_of_the_project_get_the_event(
        self, session: Session
    ) -> None:
        job = make_job(session)
        other = make_job(session, make_project(session))
        subscribed = [
            add_endpoint(session, job),
            add_endpoint(session, job, event_types=EVENT_TYPES[1:2]),
        ]
        add_endpoint(session, job, event_types=["fine_tuning.job.succeeded"])
        add_endpoint(session, other)
        add_endpoint(session, job).disabled_at = func.clock_timestamp()
        lifecycle.fail(session, job.id, JobFailure("server_error", "It broke."))
        enqueued = list_deliveries(session)
        assert {row.endpoint_id for row in enqueued} == {endpoint.id for endpoint in subscribed}
        assert len({row.event_id for row in enqueued}) == 1, "one event, one id"


def test_old_finished_deliveries_are_pruned(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = list_deliveries(session)
    delivery.created_at -= timedelta(days=31)
    deliveries.prune(session)
    assert len(list_deliveries(session)) == 1, "it is still pending"
    delivery.state = "failed"
    deliveries.prune(session)
    assert list_deliveries(session) == []
