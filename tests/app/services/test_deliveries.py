"""Webhooks come if and only if the end of their job commits, and until somebody has them."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.models import Job, Outbox, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.db.session import SessionMaker, transaction
from app.logs import redact
from app.outbound.addresses import parse_networks
from app.outbound.post import Poster
from app.schemas.webhooks import CreateEndpoint, EventType
from app.services import deliveries, errands, lifecycle, moves, signatures, webhooks
from app.services.couriers import Couriers
from app.services.errands import Outcome
from app.services.validation import Problem
from tests.app.outbound.receivers import Receiver, receiving, status
from tests.rows import make_job, make_project
from tests.waiting import wait_until

ENDS: list[EventType] = [
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
]


def add_endpoint(
    session: Session, job: Job, url: str = "https://hooks.example/", **changes: Any
) -> WebhookEndpoint:
    asked = CreateEndpoint(**{"name": "ends", "url": url, "event_types": ENDS, **changes})
    return webhooks.create(session, job.project_id, asked, lambda _: None)


def all_of(session: Session) -> list[WebhookDelivery]:
    return list(session.scalars(select(WebhookDelivery)))


class TestAnnouncing:
    @pytest.mark.parametrize(
        ("source", "to"),
        [("finalizing", "succeeded"), ("running", "failed"), ("queued", "cancelled")],
    )
    def test_every_end_is_told_of(self, session: Session, source: str, to: str) -> None:
        job = make_job(session, state=source, finished_at=datetime(2026, 1, 2, tzinfo=UTC))
        endpoint = add_endpoint(session, job)
        moves.move(session, job.id, to=to)
        (delivery,) = all_of(session)
        assert delivery.endpoint_id == endpoint.id
        assert json.loads(delivery.body) == {
            "id": delivery.event_id,
            "object": "event",
            "created_at": 1767312000,
            "type": f"fine_tuning.job.{to}",
            "data": {"id": job.id},
        }
        assert delivery.event_id.startswith("evt_")
        bell = session.scalars(select(Outbox)).one()
        assert bell.payload == {"task": "deliver", "job_id": job.id}

    def test_other_moves_are_not(self, session: Session) -> None:
        job = make_job(session, state="running")
        add_endpoint(session, job)
        for to in ("pausing", "paused", "queued"):
            assert moves.move(session, job.id, to=to) is not None
        assert all_of(session) == []

    def test_a_move_that_is_not_made_is_not(self, session: Session) -> None:
        job = make_job(session, state="succeeded")
        add_endpoint(session, job)
        assert moves.move(session, job.id, to="cancelled") is None
        assert all_of(session) == []

    def test_it_goes_with_the_transaction(self, sessions: SessionMaker) -> None:
        with sessions() as session:
            job = make_job(session)
            add_endpoint(session, job)
            session.commit()
            lifecycle.cancel(session, job.project_id, job.id)
            session.rollback()
            assert all_of(session) == []

    def test_only_to_those_of_the_project_that_want_it(self, session: Session) -> None:
        job = make_job(session)
        other = make_job(session, make_project(session))
        wanted = [add_endpoint(session, job), add_endpoint(session, job, event_types=ENDS[1:2])]
        add_endpoint(session, job, event_types=["fine_tuning.job.succeeded"])
        add_endpoint(session, other)
        add_endpoint(session, job).disabled_at = func.clock_timestamp()
        lifecycle.fail(session, job.id, Problem("server_error", "It broke."))
        found = all_of(session)
        assert {row.endpoint_id for row in found} == {endpoint.id for endpoint in wanted}
        assert len({row.event_id for row in found}) == 1, "one event, one id"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def couriers(sessions: SessionMaker) -> Iterator[Couriers]:
    made = Couriers(sessions, Poster(parse_networks("127.0.0.1"), seconds=60), count=4)
    yield made
    made.close()


class Ground:
    """A project whose cancelled jobs are told of to receivers."""

    def __init__(self, sessions: SessionMaker) -> None:
        self.sessions = sessions
        with transaction(sessions) as session:
            self.project = make_project(session)

    def listen(self, receiver: Receiver) -> WebhookEndpoint:
        with transaction(self.sessions) as session:
            return add_endpoint(session, make_job(session, self.project), receiver.url)

    def end(self) -> str:
        with transaction(self.sessions) as session:
            job = make_job(session, self.project)
            lifecycle.cancel(session, self.project.id, job.id)
            return job.id

    def due(self) -> None:
        """Spare the test the wait before the next try."""
        with transaction(self.sessions) as session:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.state == "pending")
                .values(next_at=func.clock_timestamp())
            )

    def row(self) -> WebhookDelivery:
        with transaction(self.sessions) as session:
            return session.scalars(select(WebhookDelivery)).one()

    def wait_for(self, attempts: int, state: str) -> WebhookDelivery:
        def has_come() -> bool:
            row = self.row()
            return (row.attempts, row.state, row.claimed_until) == (attempts, state, None)

        wait_until(f"attempt {attempts} has left it {state}", has_come)
        return self.row()


@pytest.fixture
def ground(sessions: SessionMaker) -> Ground:
    return Ground(sessions)


def unwrap(receiver: Receiver, secret: str, number: int = 0) -> Any:
    headers, body = receiver.requests[number]
    return OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=secret)


class TestDelivering:
    def test_the_official_client_accepts_it(
        self, ground: Ground, receiver: Receiver, couriers: Couriers
    ) -> None:
        endpoint = ground.listen(receiver)
        job_id = ground.end()
        couriers.send_out()
        row = ground.wait_for(1, "succeeded")
        event = unwrap(receiver, endpoint.secret)
        assert (event.type, event.data.id) == ("fine_tuning.job.cancelled", job_id)
        headers, body = receiver.requests[0]
        assert headers["webhook-id"] == event.id == row.event_id
        assert body.decode() == row.body

    def test_a_failure_is_tried_again_with_the_same_id(
        self, ground: Ground, receiver: Receiver, couriers: Couriers
    ) -> None:
        ground.listen(receiver)
        ground.end()
        receiver.answer = status(500)
        couriers.send_out()
        row = ground.wait_for(1, "pending")
        assert row.next_at is not None
        with transaction(ground.sessions) as session:
            now = clock.read(session)
        assert row.next_at > row.created_at + timedelta(seconds=20)
        assert row.next_at < now + timedelta(seconds=60)
        couriers.send_out()
        receiver.answer = status(200)
        ground.due()
        couriers.send_out()
        ground.wait_for(2, "succeeded")
        first, second = (headers["webhook-id"] for headers, _ in receiver.requests)
        assert first == second
        with transaction(ground.sessions) as session:
            tries = deliveries.attempts(session, [row])[row.id]
        assert [(each.number, each.status) for each in tries] == [(1, 500), (2, 200)]

    def test_nothing_is_claimed_for_couriers_that_come_no_more(
        self, ground: Ground, receiver: Receiver, couriers: Couriers
    ) -> None:
        ground.listen(receiver)
        ground.end()
        couriers.close()
        couriers.send_out()
        assert ground.row().attempts == 0, "its claim would keep it from others for a minute"

    @pytest.mark.parametrize("code", [100, 204, 299, 301, 307, 400, 404, 503])
    def test_only_a_2xx_is_a_success(self, session: Session, code: int) -> None:
        assert Outcome(milliseconds=1, status=code).is_success == (code in (204, 299))

    def test_gone_ends_the_endpoint(
        self, ground: Ground, receiver: Receiver, couriers: Couriers
    ) -> None:
        endpoint = ground.listen(receiver)
        ground.end()
        receiver.answer = status(410)
        couriers.send_out()
        ground.wait_for(1, "failed")
        ground.end()
        with transaction(ground.sessions) as session:
            assert session.get_one(WebhookEndpoint, endpoint.id).disabled_at is not None
            assert len(all_of(session)) == 1, "nothing is announced to it any more"

    def test_one_that_hangs_does_not_hold_up_the_others(
        self, ground: Ground, receiver: Receiver, couriers: Couriers
    ) -> None:
        done = threading.Event()
        with receiving() as slow:
            slow.answer = lambda _: done.wait(60)
            ground.listen(slow)
            ground.listen(receiver)
            # More events than couriers: all of them would wait at the slow one.
            for _ in range(6):
                ground.end()
            couriers.send_out()
            wait_until(
                "the others have got theirs", lambda: len(receiver.requests) == 6, seconds=50
            )
            assert slow.connections == 1
            done.set()

    def test_a_courier_that_died_is_followed_by_another(
        self, ground: Ground, receiver: Receiver, couriers: Couriers
    ) -> None:
        ground.listen(receiver)
        ground.end()
        with transaction(ground.sessions) as session:
            (lost,) = errands.claim(session, 5)
            assert errands.claim(session, 5) == []
        with transaction(ground.sessions) as session:
            session.execute(update(WebhookDelivery).values(claimed_until=func.now()))
        ground.due()
        couriers.send_out()
        row = ground.wait_for(2, "succeeded")
        with transaction(ground.sessions) as session:
            # It was not dead, only slow: what it says now changes nothing.
            errands.record(session, lost, Outcome(milliseconds=1, status=500))
        assert ground.row().state == "succeeded"
        assert receiver.requests[0][0]["webhook-id"] == row.event_id

    def test_two_workers_share_the_work(self, ground: Ground, receiver: Receiver) -> None:
        for _ in range(8):
            ground.listen(receiver)
        ground.end()
        claimed: list[str] = []

        def take() -> None:
            with transaction(ground.sessions) as session:
                claimed.extend(each.delivery_id for each in errands.claim(session, 8))

        workers = [threading.Thread(target=take) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        take()
        assert len(claimed) == len(set(claimed)) == 8

    def test_a_deleted_endpoint_is_forgotten_while_a_try_is_under_way(self, ground: Ground) -> None:
        with receiving() as receiver:
            endpoint = ground.listen(receiver)
            ground.end()
            with transaction(ground.sessions) as session:
                (errand,) = errands.claim(session, 5)
            with transaction(ground.sessions) as session:
                webhooks.delete(session, ground.project.id, endpoint.id)
            with transaction(ground.sessions) as session:
                errands.record(session, errand, Outcome(milliseconds=1, status=200))
                assert all_of(session) == []


def test_it_is_given_up_after_three_days(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = all_of(session)
    waits: list[timedelta] = []
    while delivery.state == "pending":
        # The clock is the database's, so that the row goes back in time instead.
        delivery.next_at = func.clock_timestamp()
        session.flush()
        (errand,) = errands.claim(session, 1)
        errands.record(session, errand, Outcome(milliseconds=1, error="It cannot be reached."))
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
    (delivery,) = all_of(session)
    waits: list[timedelta] = []
    before = clock.read(session)
    while errands.claim(session, 1):
        session.flush()
        session.refresh(delivery)
        assert delivery.next_at is not None
        waits.append(delivery.next_at - before)
        delivery.created_at -= waits[-1]
        delivery.claimed_until = func.clock_timestamp()
        session.flush()
        assert errands.claim(session, 1) == [], "the end of its claim alone makes it not due"
        delivery.next_at = func.clock_timestamp()
        session.flush()
        assert len(waits) < 20, "a receiver is posted to for ever"
        before = clock.read(session)
    session.refresh(delivery)
    assert (delivery.state, delivery.next_at) == ("failed", None)
    assert timedelta(hours=72) < sum(waits, timedelta()) < timedelta(hours=72 + 29)
    assert waits[0] >= timedelta(seconds=60)


def test_what_waited_for_a_worker_for_days_is_tried(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = all_of(session)
    delivery.created_at -= timedelta(days=5)
    session.flush()
    assert len(errands.claim(session, 1)) == 1


def test_old_deliveries_are_forgotten(session: Session) -> None:
    job = make_job(session)
    add_endpoint(session, job)
    lifecycle.cancel(session, job.project_id, job.id)
    (delivery,) = all_of(session)
    delivery.created_at -= timedelta(days=31)
    deliveries.prune(session)
    assert len(all_of(session)) == 1, "it is still on its way"
    delivery.state = "failed"
    deliveries.prune(session)
    assert all_of(session) == []


class TestSignatures:
    SECRET = signatures.new_secret()
    BODY = json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "created_at": 1,
            "type": "fine_tuning.job.failed",
            "data": {"id": "ftjob-1"},
        }
    )

    def verify(self, headers: dict[str, str], body: str, secret: str) -> None:
        OpenAI(api_key="none").webhooks.verify_signature(body, headers, secret=secret)

    def test_each_active_secret_signs(self) -> None:
        newer = signatures.new_secret()
        signed = signatures.headers([newer, self.SECRET], "evt_1", int(time.time()), self.BODY)
        for secret in (newer, self.SECRET):
            self.verify(signed, self.BODY, secret)
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed, self.BODY, signatures.new_secret())

    def test_a30_what_was_altered_or_is_old_does_not_pass(self) -> None:
        signed = signatures.headers([self.SECRET], "evt_1", int(time.time()), self.BODY)
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed, self.BODY.replace("failed", "succeeded"), self.SECRET)
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed | {"webhook-id": "evt_2"}, self.BODY, self.SECRET)
        later = str(int(time.time()) + 1)
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed | {"webhook-timestamp": later}, self.BODY, self.SECRET)
        for shift in (-301, 302):
            moment = int(time.time()) + shift
            replayed = signatures.headers([self.SECRET], "evt_1", moment, self.BODY)
            with pytest.raises(InvalidWebhookSignatureError):
                self.verify(replayed, self.BODY, self.SECRET)

    def test_the_specifications_own_example(self) -> None:
        signed = signatures.headers(
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            '{"test": 2432232314}',
        )
        assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    def test_a_secret_is_neither_in_errands_nor_in_logs(self) -> None:
        errand = errands.Errand(
            delivery_id="d", endpoint_id="w", number=1, url="u", event_id="e", body="b",
            keys=(self.SECRET,),
        )  # fmt: skip
        assert self.SECRET not in repr(errand)
        assert self.SECRET[6:] not in redact(f"signed with {self.SECRET}.")
