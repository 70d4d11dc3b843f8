"""Webhook deliveries: enqueue them in the transaction that ends something; list and prune them.

The rows are an outbox of their own; `attempts` retries them for days.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from app import ids
from app.db import clock, outbox, pagination
from app.db.pagination import Page
from app.db.tables import (
    DeliveryState,
    Job,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WorkerTask,
)
from app.webhooks import attempts, endpoints
from app.webhooks.attempts import DeliveryAttempt

RETENTION = timedelta(days=30)


def enqueue_for_job(session: Session, job: Job) -> None:
    """Enqueue an event for each subscribed endpoint of the project of a job that has ended."""
    when = job.finished_at or job.created_at
    enqueue(session, job.project_id, f"fine_tuning.job.{job.state}", job.id, when)


def enqueue(
    session: Session, project_id: str, event_type: str, object_id: str, when: datetime
) -> None:
    """Enqueue an event about an object for each subscribed endpoint of its project."""
    subscribed = (
        select(WebhookEndpoint.id)
        .where(
            WebhookEndpoint.project_id == project_id,
            WebhookEndpoint.disabled_at.is_(None),
            WebhookEndpoint.event_types.contains([event_type]),
        )
        # A concurrent deletion of an endpoint must not make the object's transaction fail.
        .with_for_update(read=True, key_share=True)
    )
    endpoint_ids = session.scalars(subscribed).all()
    if not endpoint_ids:
        return
    event_id = ids.webhook_event_id()
    event = {
        "event_id": event_id,
        "event_type": event_type,
        "body": _serialize_event(event_id, event_type, object_id, when),
        "next_attempt_at": func.clock_timestamp(),
    }
    session.execute(
        insert(WebhookDelivery).values([_build_row(id_, event) for id_ in endpoint_ids])
    )
    outbox.enqueue_notification(session, WorkerTask.DELIVER, object_id)


def create_test_delivery(
    session: Session, project_id: str, endpoint_id: str, event_type: str
) -> DeliveryAttempt:
    """Create a delivery of a sample event, its first attempt claimed. Raises NotFound."""
    endpoint = endpoints.get(session, project_id, endpoint_id)
    event_id = ids.webhook_event_id()
    now = clock.now(session)
    delivery = WebhookDelivery(
        id=ids.webhook_delivery_id(),
        endpoint_id=endpoint.id,
        event_id=event_id,
        event_type=event_type,
        body=_serialize_event(event_id, event_type, _make_sample_id(event_type), now),
        attempts=1,
        next_attempt_at=now,
        claimed_until=now + attempts.CLAIM_DURATION,
    )
    session.add(delivery)
    session.flush()
    return attempts.build_attempt(session, delivery)


def list_(
    session: Session, project_id: str, endpoint_id: str, *, after: str | None, limit: int
) -> Page[WebhookDelivery]:
    """List a page of an endpoint's deliveries, newest first. Raises NotFound."""
    endpoints.get(session, project_id, endpoint_id)
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    return pagination.fetch_page_by_age(
        session, statement, cursor_rows=statement, after=after, limit=limit
    )


def list_attempts(
    session: Session, deliveries: Iterable[WebhookDelivery]
) -> dict[str, list[WebhookAttempt]]:
    """List the attempts of each delivery, by its id, oldest first."""
    attempts_by_delivery: dict[str, list[WebhookAttempt]] = {
        delivery.id: [] for delivery in deliveries
    }
    statement = select(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(attempts_by_delivery))
    for attempt in session.scalars(statement.order_by(WebhookAttempt.number)):
        attempts_by_delivery[attempt.delivery_id].append(attempt)
    return attempts_by_delivery


def prune(session: Session) -> None:
    """Delete finished deliveries older than the retention period."""
    session.execute(
        delete(WebhookDelivery).where(
            WebhookDelivery.state != DeliveryState.PENDING,
            WebhookDelivery.created_at < clock.subtract_from_now(RETENTION),
        )
    )


def _build_row(endpoint_id: str, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": ids.webhook_delivery_id(), "endpoint_id": endpoint_id, **event}


def _make_sample_id(event_type: str) -> str:
    if event_type.startswith("eval."):
        return ids.eval_run_id()
    return ids.batch_id() if event_type.startswith("batch.") else ids.job_id()


def _serialize_event(event_id: str, event_type: str, object_id: str, when: datetime) -> str:
    """Serialize an event as OpenAI does: its only data is the id of what it is about."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(when.timestamp()),
        "type": event_type,
        "data": {"id": object_id},
    }
    return json.dumps(event, separators=(",", ":"))
