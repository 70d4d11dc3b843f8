"""Tries of deliveries: claimed, made by a courier outside of any transaction, and recorded.

A courier that dies in between, or cannot record what it did, leaves a claim that ends: then the
next one posts the same event with the same id again, as late as after any other failure.
"""

import random
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import CTE, ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from app.db import clock
from app.db.tables import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.webhooks import endpoints

# Far longer than one try takes.
CLAIM_DURATION = timedelta(seconds=60)
RETRY_DELAYS = tuple(
    timedelta(seconds=seconds) for seconds in (30, 5 * 60, 30 * 60, 2 * 3600, 8 * 3600, 24 * 3600)
)
# Of each delay: receivers that come back are not met by everything at the same moment.
JITTER = 0.2
RETRY_WINDOW = timedelta(hours=72)
HTTP_GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One try to be made: what is posted where, signed with which secrets."""

    delivery_id: str
    endpoint_id: str
    number: int
    url: str
    event_id: str
    body: str
    signing_keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How a try went: a status, or why there is none."""

    milliseconds: int
    status: int | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def claim_due(session: Session, limit: int) -> list[DeliveryAttempt]:
    """What is due, one try per endpoint: one that hangs must not hold up the others."""
    _fail_overdue(session)
    taken = _due_deliveries(limit)
    statement = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == taken.c.id)
        .values(
            attempts=WebhookDelivery.attempts + 1,
            claimed_until=func.clock_timestamp() + CLAIM_DURATION,
        )
        .returning(WebhookDelivery)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    claimed = session.scalars(statement).all()
    now = clock.now(session)
    for delivery in claimed:
        # Whatever keeps the try from being recorded, the receiver must not be met every minute.
        delivery.next_at = now + max(CLAIM_DURATION, _retry_delay(delivery))
    return [attempt_for(session, delivery) for delivery in claimed]


def attempt_for(session: Session, delivery: WebhookDelivery) -> DeliveryAttempt:
    """The try that a delivery's claim is for."""
    endpoint = session.get_one(WebhookEndpoint, delivery.endpoint_id)
    return DeliveryAttempt(
        delivery_id=delivery.id,
        endpoint_id=endpoint.id,
        number=delivery.attempts,
        url=endpoint.url,
        event_id=delivery.event_id,
        body=delivery.body,
        signing_keys=endpoints.signing_keys(session, endpoint),
    )


def record_result(
    session: Session, attempt: DeliveryAttempt, result: AttemptResult, *, retry: bool = True
) -> None:
    """Log a try and decide what follows; without `again`, a failed one is the last."""
    # The endpoint first, as its deletion does: two that lock in another order wait for ever.
    endpoint = session.get(
        WebhookEndpoint, attempt.endpoint_id, with_for_update={"key_share": True}
    )
    if endpoint is None:
        return
    delivery = session.get_one(WebhookDelivery, attempt.delivery_id, with_for_update=True)
    session.add(_attempt_row(attempt, result))
    if result.status == HTTP_GONE:
        _disable_endpoint(session, endpoint)
    elif delivery.state != "pending" or delivery.attempts != attempt.number:
        # The claim had ended, and the delivery is another's by now.
        return
    elif result.is_success:
        _finish(delivery, "succeeded")
    else:
        _schedule_retry(session, delivery, retry=retry)


def _fail_overdue(session: Session) -> None:
    """End what is overdue although it was tried often enough: its tries were not recorded."""
    overdue = select(WebhookDelivery.id).where(
        WebhookDelivery.state == "pending",
        WebhookDelivery.next_at <= func.clock_timestamp(),
        WebhookDelivery.attempts >= len(RETRY_DELAYS),
        WebhookDelivery.created_at < clock.ago(RETRY_WINDOW),
        _unclaimed(),
    )
    session.execute(
        update(WebhookDelivery)
        # Without waiting for locks: whoever ends an endpoint takes them in another order.
        .where(WebhookDelivery.id.in_(overdue.with_for_update(skip_locked=True)))
        .values(state="failed", next_at=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )


def _unclaimed() -> ColumnElement[bool]:
    return or_(
        WebhookDelivery.claimed_until.is_(None),
        WebhookDelivery.claimed_until < func.clock_timestamp(),
    )


def _due_deliveries(limit: int) -> CTE:
    other = aliased(WebhookDelivery)
    busy = select(other.id).where(
        other.endpoint_id == WebhookDelivery.endpoint_id,
        other.claimed_until > func.clock_timestamp(),
    )
    first = (
        select(WebhookDelivery.id)
        .ext(distinct_on(WebhookDelivery.endpoint_id))
        .where(
            WebhookDelivery.state == "pending",
            WebhookDelivery.next_at <= func.clock_timestamp(),
            ~busy.exists(),
        )
        .order_by(WebhookDelivery.endpoint_id, WebhookDelivery.next_at)
    )
    return (
        select(WebhookDelivery.id)
        # Asked again: somebody may have claimed it while this statement began.
        .where(WebhookDelivery.id.in_(first), WebhookDelivery.state == "pending", _unclaimed())
        .order_by(WebhookDelivery.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("taken")
    )


def _attempt_row(errand: DeliveryAttempt, outcome: AttemptResult) -> WebhookAttempt:
    return WebhookAttempt(
        delivery_id=errand.delivery_id,
        number=errand.number,
        milliseconds=outcome.milliseconds,
        status=outcome.status,
        error=outcome.error,
    )


def _schedule_retry(session: Session, delivery: WebhookDelivery, *, retry: bool) -> None:
    delay = _retry_delay(delivery)
    now = clock.now(session)
    if not retry or now + delay > delivery.created_at + RETRY_WINDOW:
        _finish(delivery, "failed")
        return
    delivery.next_at = now + delay
    delivery.claimed_until = None


def _retry_delay(delivery: WebhookDelivery) -> timedelta:
    """How long to wait after the try at hand, should it fail."""
    return RETRY_DELAYS[min(delivery.attempts, len(RETRY_DELAYS)) - 1] * random.uniform(
        1 - JITTER, 1 + JITTER
    )


def _finish(delivery: WebhookDelivery, state: str) -> None:
    delivery.state = state
    delivery.next_at = None
    delivery.claimed_until = None


def _disable_endpoint(session: Session, endpoint: WebhookEndpoint) -> None:
    endpoint.disabled_at = func.clock_timestamp()
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.state == "pending")
        .values(state="failed", next_at=None, claimed_until=None)
    )
