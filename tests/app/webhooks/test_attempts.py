"""When a try of a delivery is followed by another, and when by none."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import WebhookAttempt
from app.jobs import lifecycle
from app.webhooks import attempts
from app.webhooks.attempts import AttemptResult
from tests.app.webhooks.test_deliveries import add_endpoint, all_deliveries
from tests.factories import make_job


def test_it_is_given_up_after_three_days(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = all_deliveries(session)
    waits: list[timedelta] = []
    while delivery.state == "pending":
        # The clock is the database's, so that the row goes back in time instead.
        delivery.next_at = func.clock_timestamp()
        session.flush()
        (errand,) = attempts.claim_due(session, 1)
        attempts.record_result(
            session, errand, AttemptResult(milliseconds=1, error="It cannot be reached.")
        )
        session.flush()
        session.refresh(delivery)
        if delivery.next_at is not None:
            now = session.scalars(select(func.clock_timestamp())).one()
            waits.append(delivery.next_at - now)
            delivery.created_at -= waits[-1]
    assert delivery.state == "failed"
    assert delivery.next_at is None
    assert 6 <= len(waits) <= 9
    assert timedelta(hours=40) < sum(waits, timedelta()) <= timedelta(hours=72)
    assert waits == sorted(waits) or waits[:5] == sorted(waits[:5])
    logged = session.scalars(select(func.count()).select_from(WebhookAttempt)).one()
    assert logged == len(waits) + 1


def test_a_try_that_is_never_recorded_is_followed_like_one_that_failed(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = all_deliveries(session)
    waits: list[timedelta] = []
    before = clock.now(session)
    while attempts.claim_due(session, 1):
        session.flush()
        session.refresh(delivery)
        assert delivery.next_at is not None
        waits.append(delivery.next_at - before)
        delivery.created_at -= waits[-1]
        delivery.claimed_until = func.clock_timestamp()
        session.flush()
        assert attempts.claim_due(session, 1) == [], "the end of its claim alone makes it not due"
        delivery.next_at = func.clock_timestamp()
        session.flush()
        assert len(waits) < 20, "a receiver is posted to for ever"
        before = clock.now(session)
    session.refresh(delivery)
    assert (delivery.state, delivery.next_at) == ("failed", None)
    assert timedelta(hours=72) < sum(waits, timedelta()) < timedelta(hours=72 + 29)
    assert waits[0] >= timedelta(seconds=60)


def test_what_waited_for_a_worker_for_days_is_tried(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = all_deliveries(session)
    delivery.created_at -= timedelta(days=5)
    session.flush()
    assert len(attempts.claim_due(session, 1)) == 1
