"""Deliveries of webhooks: decided in the transaction that ends a job; and listed.

The rows are an outbox of their own, kept and tried for days; `errands` has the tries.
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
from app.db.tables import Job, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.webhooks import attempts as errands
from app.webhooks import endpoints
from app.webhooks.attempts import DeliveryAttempt

RETENTION = timedelta(days=30)


def enqueue_for_job(session: Session, job: Job) -> None:
    """Tell the project's endpoints of a job that has ended, if the transaction commits."""
    event_type = f"fine_tuning.job.{job.state}"
    listening = (
        select(WebhookEndpoint.id)
        .where(
            WebhookEndpoint.project_id == job.project_id,
            WebhookEndpoint.disabled_at.is_(None),
            WebhookEndpoint.event_types.contains([event_type]),
        )
        # One that is deleted meanwhile must not make the end of the job fail.
        .with_for_update(read=True, key_share=True)
    )
    endpoint_ids = session.scalars(listening).all()
    if not endpoint_ids:
        return
    event_id = ids.webhook_event_id()
    event = {
        "event_id": event_id,
        "event_type": event_type,
        "body": _event_body(event_id, event_type, job.id, job.finished_at or job.created_at),
        "next_at": func.clock_timestamp(),
    }
    session.execute(insert(WebhookDelivery).values([_row(id_, event) for id_ in endpoint_ids]))
    outbox.enqueue_hint(session, "deliver", job.id)


def create_test_delivery(
    session: Session, project_id: str, endpoint_id: str, event_type: str
) -> DeliveryAttempt:
    """A first try, claimed by the caller, of an event that did not happen. Raises NotFound."""
    endpoint = endpoints.get(session, project_id, endpoint_id)
    event_id = ids.webhook_event_id()
    now = clock.now(session)
    delivery = WebhookDelivery(
        id=ids.webhook_delivery_id(),
        endpoint_id=endpoint.id,
        event_id=event_id,
        event_type=event_type,
        body=_event_body(event_id, event_type, ids.job_id(), now),
        attempts=1,
        next_at=now,
        claimed_until=now + errands.CLAIM_DURATION,
    )
    session.add(delivery)
    session.flush()
    return errands.attempt_for(session, delivery)


def list_(
    session: Session, project_id: str, endpoint_id: str, *, after: str | None, limit: int
) -> Page[WebhookDelivery]:
    """A page of an endpoint's deliveries, newest first. Raises NotFound."""
    endpoints.get(session, project_id, endpoint_id)
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    return pagination.page_by_age(
        session, statement, cursor_rows=statement, after=after, limit=limit
    )


def list_attempts(
    session: Session, deliveries: Iterable[WebhookDelivery]
) -> dict[str, list[WebhookAttempt]]:
    """The tries of each delivery, by its id, in the order in which they were made."""
    found: dict[str, list[WebhookAttempt]] = {delivery.id: [] for delivery in deliveries}
    statement = select(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(found))
    for attempt in session.scalars(statement.order_by(WebhookAttempt.number)):
        found[attempt.delivery_id].append(attempt)
    return found


def prune(session: Session) -> None:
    """Forget what ended long ago."""
    session.execute(
        delete(WebhookDelivery).where(
            WebhookDelivery.state != "pending",
            WebhookDelivery.created_at < clock.ago(RETENTION),
        )
    )


def _row(endpoint_id: str, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": ids.webhook_delivery_id(), "endpoint_id": endpoint_id, **event}


def _event_body(event_id: str, event_type: str, job_id: str, when: datetime) -> str:
    """The event as OpenAI writes it: it names the job and says no more of it."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(when.timestamp()),
        "type": event_type,
        "data": {"id": job_id},
    }
    return json.dumps(event, separators=(",", ":"))
