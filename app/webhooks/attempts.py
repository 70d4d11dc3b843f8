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
CLAIM = timedelta(seconds=60)
DELAYS = tuple(
    timedelta(seconds=seconds) for seconds in (30, 5 * 60, 30 * 60, 2 * 3600, 8 * 3600, 24 * 3600)
)
# Of each delay: receivers that come back are not met by everything at the same moment.
JITTER = 0.2
GIVEN_UP_AFTER = timedelta(hours=72)
GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One try to be made: what is posted where, signed with which secrets."""

    delivery_id: str
    endpoint_id: str
    number: int
    url: str
    event_id: str
    body: str
    keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a try went: a status, or why there is none."""

    milliseconds: int
    status: int | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def claim(session: Session, limit: int) -> list[Errand]:
    """What is due, one try per endpoint: one that hangs must not hold up the others."""
    _give_up(session)
    taken = _due(limit)
    statement = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == taken.c.id)
        .values(
            attempts=WebhookDelivery.attempts + 1,
            claimed_until=func.clock_timestamp() + CLAIM,
        )
        .returning(WebhookDelivery)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    claimed = session.scalars(statement).all()
    now = clock.read(session)
    for delivery in claimed:
        # Whatever keeps the try from being recorded, the receiver must not be met every minute.
        delivery.next_at = now + max(CLAIM, _delay(delivery))
    return [of(session, delivery) for delivery in claimed]


def of(session: Session, delivery: WebhookDelivery) -> Errand:
    """The try that a delivery's claim is for."""
    endpoint = session.get_one(WebhookEndpoint, delivery.endpoint_id)
    return Errand(
        delivery_id=delivery.id,
        endpoint_id=endpoint.id,
        number=delivery.attempts,
        url=endpoint.url,
        event_id=delivery.event_id,
        body=delivery.body,
        keys=endpoints.signing_keys(session, endpoint),
    )


def record(session: Session, errand: Errand, outcome: Outcome, *, again: bool = True) -> None:
    """Log a try and decide what follows; without `again`, a failed one is the last."""
    # The endpoint first, as its deletion does: two that lock in another order wait for ever.
    endpoint = session.get(WebhookEndpoint, errand.endpoint_id, with_for_update={"key_share": True})
    if endpoint is None:
        return
    delivery = session.get_one(WebhookDelivery, errand.delivery_id, with_for_update=True)
    session.add(_attempt(errand, outcome))
    if outcome.status == GONE:
        _disable(session, endpoint)
    elif delivery.state != "pending" or delivery.attempts != errand.number:
        # The claim had ended, and the delivery is another's by now.
        return
    elif outcome.is_success:
        _end(delivery, "succeeded")
    else:
        _postpone(session, delivery, again=again)


def _give_up(session: Session) -> None:
    """End what is overdue although it was tried often enough: its tries were not recorded."""
    overdue = select(WebhookDelivery.id).where(
        WebhookDelivery.state == "pending",
        WebhookDelivery.next_at <= func.clock_timestamp(),
        WebhookDelivery.attempts >= len(DELAYS),
        WebhookDelivery.created_at < clock.ago(GIVEN_UP_AFTER),
        _is_free(),
    )
    session.execute(
        update(WebhookDelivery)
        # Without waiting for locks: whoever ends an endpoint takes them in another order.
        .where(WebhookDelivery.id.in_(overdue.with_for_update(skip_locked=True)))
        .values(state="failed", next_at=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )


def _is_free() -> ColumnElement[bool]:
    return or_(
        WebhookDelivery.claimed_until.is_(None),
        WebhookDelivery.claimed_until < func.clock_timestamp(),
    )


def _due(limit: int) -> CTE:
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
        .where(WebhookDelivery.id.in_(first), WebhookDelivery.state == "pending", _is_free())
        .order_by(WebhookDelivery.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("taken")
    )


def _attempt(errand: Errand, outcome: Outcome) -> WebhookAttempt:
    return WebhookAttempt(
        delivery_id=errand.delivery_id,
        number=errand.number,
        milliseconds=outcome.milliseconds,
        status=outcome.status,
        error=outcome.error,
    )


def _postpone(session: Session, delivery: WebhookDelivery, *, again: bool) -> None:
    delay = _delay(delivery)
    now = clock.read(session)
    if not again or now + delay > delivery.created_at + GIVEN_UP_AFTER:
        _end(delivery, "failed")
        return
    delivery.next_at = now + delay
    delivery.claimed_until = None


def _delay(delivery: WebhookDelivery) -> timedelta:
    """How long to wait after the try at hand, should it fail."""
    return DELAYS[min(delivery.attempts, len(DELAYS)) - 1] * random.uniform(1 - JITTER, 1 + JITTER)


def _end(delivery: WebhookDelivery, state: str) -> None:
    delivery.state = state
    delivery.next_at = None
    delivery.claimed_until = None


def _disable(session: Session, endpoint: WebhookEndpoint) -> None:
    endpoint.disabled_at = func.clock_timestamp()
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.state == "pending")
        .values(state="failed", next_at=None, claimed_until=None)
    )
