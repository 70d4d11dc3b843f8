"""Backoff and retry window of webhook delivery attempts."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import WebhookAttempt, WebhookEndpoint
from app.jobs import lifecycle
from app.webhooks import attempts
from app.webhooks.attempts import AttemptResult
from tests.app.webhooks.test_deliveries import add_endpoint, list_deliveries
from tests.factories import make_job


def test_a_failing_delivery_fails_within_the_retry_window(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = list_deliveries(session)
    waits: list[timedelta] = []
    while delivery.state == "pending":
        # The clock is the database's, so the test ages the row instead.
        delivery.next_attempt_at = func.clock_timestamp()
        session.flush()
        (attempt,) = attempts.claim_due(session, 1)
        attempts.record_result(
            session, attempt, AttemptResult(milliseconds=1, error="It cannot be reached.")
        )
        session.flush()
        session.refresh(delivery)
        if delivery.next_attempt_at is not None:
            now = session.scalars(select(func.clock_timestamp())).one()
            waits.append(delivery.next_attempt_at - now)
            delivery.created_at -= waits[-1]
    assert delivery.state == "failed"
    assert delivery.next_attempt_at is None
    assert 6 <= len(waits) <= 9
    assert timedelta(hours=40) < sum(waits, timedelta()) <= timedelta(hours=72)
    assert waits == sorted(waits) or waits[:5] == sorted(waits[:5])
    logged = session.scalars(select(func.count()).select_from(WebhookAttempt)).one()
    assert logged == len(waits) + 1


def test_an_unrecorded_attempt_is_retried_like_a_failed_one(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = list_deliveries(session)
    waits: list[timedelta] = []
    before = clock.now(session)
    while attempts.claim_due(session, 1):
        session.flush()
        session.refresh(delivery)
        assert delivery.next_attempt_at is not None
        waits.append(delivery.next_attempt_at - before)
        delivery.created_at -= waits[-1]
        delivery.claimed_until = func.clock_timestamp()
        session.flush()
        assert attempts.claim_due(session, 1) == [], "an expired claim alone does not make it due"
        delivery.next_attempt_at = func.clock_timestamp()
        session.flush()
        assert len(waits) < 20, "the delivery is never given up"
        before = clock.now(session)
    session.refresh(delivery)
    assert (delivery.state, delivery.next_attempt_at) == ("failed", None)
    assert timedelta(hours=72) < sum(waits, timedelta()) < timedelta(hours=72 + 29)
    assert waits[0] >= timedelta(seconds=60)


def test_a_delivery_that_waited_for_days_gets_its_first_attempt(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = list_deliveries(session)
    delivery.created_at -= timedelta(days=5)
    session.flush()
    assert len(attempts.claim_due(session, 1)) == 1


def test_a56_claims_take_turns_between_projects(session: Session) -> None:
    """The older deliveries of one project do not go before all deliveries of the other."""
    crowded, quiet = make_job(session), make_job(session)
    for job, number in ((crowded, 6), (quiet, 2)):
        for _ in range(number):
            add_endpoint(session, job)
        lifecycle.cancel(session, job.project_id, job.id)
    of_quiet = set(
        session.scalars(
            select(WebhookEndpoint.id).where(WebhookEndpoint.project_id == quiet.project_id)
        )
    )
    first = [attempt.endpoint_id in of_quiet for attempt in attempts.claim_due(session, 4)]
    assert sorted(first) == [False, False, True, True]
    rest = attempts.claim_due(session, 10)
    assert len(rest) == attempts.MAX_IN_FLIGHT_PER_PROJECT - 2, "what is in flight counts"
    assert attempts.claim_due(session, 10) == []
