"""Webhook delivery attempts: claim what is due, send it outside any transaction, record the result.

A claim is a lease. If the sender dies, or cannot record its result, the claim expires and the same
event is posted again with the same id, after the same backoff as any other failure.
"""

import random
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import CTE, ColumnElement, Subquery, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from app.db import clock
from app.db.tables import DeliveryState, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.webhooks import endpoints

# Attempts of one project in flight, on all processes together: receivers that hang hold a thread of
# the sender until the timeout, and those of one project must not hold all of them.
MAX_IN_FLIGHT_PER_PROJECT = 4
# Much longer than an attempt takes.
CLAIM_DURATION = timedelta(seconds=60)
RETRY_DELAYS = tuple(
    timedelta(seconds=seconds) for seconds in (30, 5 * 60, 30 * 60, 2 * 3600, 8 * 3600, 24 * 3600)
)
# Relative; a receiver that recovers must not get all its deliveries at the same moment.
JITTER = 0.2
RETRY_WINDOW = timedelta(hours=72)
HTTP_GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """A claimed attempt: the URL, the event to post, and the secrets to sign it with."""

    delivery_id: str
    endpoint_id: str
    number: int
    url: str
    event_id: str
    body: str
    signing_keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """The result of an attempt: an HTTP status, or the error that prevented one."""

    milliseconds: int
    status: int | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def claim_due(session: Session, limit: int) -> list[DeliveryAttempt]:
    """Claim due deliveries, in round robin over projects.

    At most one per endpoint is in flight, and MAX_IN_FLIGHT_PER_PROJECT per project: receivers that
    hang must not delay the deliveries to others. Two processes that claim at the same moment may
    exceed the project's limit once.
    """
    _fail_overdue(session)
    due = _select_due(limit)
    statement = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == due.c.id)
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
        # If results are never recorded, the receiver must not get the event every minute.
        delivery.next_attempt_at = now + max(CLAIM_DURATION, _compute_retry_delay(delivery))
    return [build_attempt(session, delivery) for delivery in claimed]


def build_attempt(session: Session, delivery: WebhookDelivery) -> DeliveryAttempt:
    """Build the attempt of a delivery that the caller has claimed."""
    endpoint = session.get_one(WebhookEndpoint, delivery.endpoint_id)
    return DeliveryAttempt(
        delivery_id=delivery.id,
        endpoint_id=endpoint.id,
        number=delivery.attempts,
        url=endpoint.url,
        event_id=delivery.event_id,
        body=delivery.body,
        signing_keys=endpoints.list_signing_keys(session, endpoint),
    )


def record_result(
    session: Session, attempt: DeliveryAttempt, result: AttemptResult, *, retry: bool = True
) -> None:
    """Log an attempt, then finish the delivery or schedule its next attempt.

    Without `retry` a failed attempt is the last. A 410 disables the endpoint.
    """
    # Lock the endpoint first, as its deletion does: another order could deadlock.
    endpoint = session.get(
        WebhookEndpoint, attempt.endpoint_id, with_for_update={"key_share": True}
    )
    if endpoint is None:
        return
    delivery = session.get_one(WebhookDelivery, attempt.delivery_id, with_for_update=True)
    session.add(_build_attempt_row(attempt, result))
    if result.status == HTTP_GONE:
        _disable_endpoint(session, endpoint)
    elif delivery.state != DeliveryState.PENDING or delivery.attempts != attempt.number:
        # The claim had expired, and another sender has taken over the delivery.
        return
    elif result.is_success:
        _finish(delivery, DeliveryState.SUCCEEDED)
    else:
        _schedule_retry(session, delivery, retry=retry)


def _fail_overdue(session: Session) -> None:
    """Fail deliveries past the retry window whose last attempts were never recorded."""
    overdue = select(WebhookDelivery.id).where(
        WebhookDelivery.state == DeliveryState.PENDING,
        WebhookDelivery.next_attempt_at <= func.clock_timestamp(),
        WebhookDelivery.attempts >= len(RETRY_DELAYS),
        WebhookDelivery.created_at < clock.subtract_from_now(RETRY_WINDOW),
        _is_unclaimed(),
    )
    session.execute(
        update(WebhookDelivery)
        # Skip locked rows: deleting an endpoint takes these locks in another order.
        .where(WebhookDelivery.id.in_(overdue.with_for_update(skip_locked=True)))
        .values(state=DeliveryState.FAILED, next_attempt_at=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )


def _is_unclaimed() -> ColumnElement[bool]:
    return or_(
        WebhookDelivery.claimed_until.is_(None),
        WebhookDelivery.claimed_until < func.clock_timestamp(),
    )


def _select_due(limit: int) -> CTE:
    """Select the deliveries to claim, and lock them."""
    turns = _rank_within_projects()
    return (
        select(WebhookDelivery.id)
        .join(turns, turns.c.id == WebhookDelivery.id)
        # Checked again: another sender may have claimed it since the subquery's snapshot.
        .where(
            turns.c.turn <= MAX_IN_FLIGHT_PER_PROJECT,
            WebhookDelivery.state == DeliveryState.PENDING,
            _is_unclaimed(),
        )
        .order_by(turns.c.turn, WebhookDelivery.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=WebhookDelivery)
        .cte("due")
    )


def _rank_within_projects() -> Subquery:
    """Give each due delivery its turn within its project; what is in flight took the first ones."""
    in_flight = (
        select(WebhookEndpoint.project_id, func.count().label("deliveries"))
        .join(WebhookDelivery, WebhookDelivery.endpoint_id == WebhookEndpoint.id)
        .where(WebhookDelivery.claimed_until > func.clock_timestamp())
        .group_by(WebhookEndpoint.project_id)
        .subquery("in_flight")
    )
    due = _select_first_per_endpoint()
    rank = func.row_number().over(
        partition_by=WebhookEndpoint.project_id, order_by=(due.c.next_attempt_at, due.c.id)
    )
    return (
        select(due.c.id, (func.coalesce(in_flight.c.deliveries, 0) + rank).label("turn"))
        .join(WebhookEndpoint, WebhookEndpoint.id == due.c.endpoint_id)
        .outerjoin(in_flight, in_flight.c.project_id == WebhookEndpoint.project_id)
        .subquery("turns")
    )


def _select_first_per_endpoint() -> Subquery:
    """Select the delivery that is due first of each endpoint without one in flight."""
    other = aliased(WebhookDelivery)
    in_flight = select(other.id).where(
        other.endpoint_id == WebhookDelivery.endpoint_id,
        other.claimed_until > func.clock_timestamp(),
    )
    return (
        select(WebhookDelivery.id, WebhookDelivery.endpoint_id, WebhookDelivery.next_attempt_at)
        .ext(distinct_on(WebhookDelivery.endpoint_id))
        .where(
            WebhookDelivery.state == DeliveryState.PENDING,
            WebhookDelivery.next_attempt_at <= func.clock_timestamp(),
            ~in_flight.exists(),
        )
        .order_by(WebhookDelivery.endpoint_id, WebhookDelivery.next_attempt_at)
        .subquery("first_per_endpoint")
    )


def _build_attempt_row(attempt: DeliveryAttempt, result: AttemptResult) -> WebhookAttempt:
    return WebhookAttempt(
        delivery_id=attempt.delivery_id,
        number=attempt.number,
        milliseconds=result.milliseconds,
        status=result.status,
        error=result.error,
    )


def _schedule_retry(session: Session, delivery: WebhookDelivery, *, retry: bool) -> None:
    delay = _compute_retry_delay(delivery)
    now = clock.now(session)
    if not retry or now + delay > delivery.created_at + RETRY_WINDOW:
        _finish(delivery, DeliveryState.FAILED)
        return
    delivery.next_attempt_at = now + delay
    delivery.claimed_until = None


def _compute_retry_delay(delivery: WebhookDelivery) -> timedelta:
    """Compute the backoff, with jitter, that follows the current attempt if it fails."""
    step = min(delivery.attempts, len(RETRY_DELAYS)) - 1
    return RETRY_DELAYS[step] * random.uniform(1 - JITTER, 1 + JITTER)


def _finish(delivery: WebhookDelivery, state: DeliveryState) -> None:
    delivery.state = state
    delivery.next_attempt_at = None
    delivery.claimed_until = None


def _disable_endpoint(session: Session, endpoint: WebhookEndpoint) -> None:
    endpoint.disabled_at = func.clock_timestamp()
    session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.endpoint_id == endpoint.id,
            WebhookDelivery.state == DeliveryState.PENDING,
        )
        .values(state=DeliveryState.FAILED, next_attempt_at=None, claimed_until=None)
    )
