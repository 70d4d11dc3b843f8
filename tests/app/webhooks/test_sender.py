"""Webhooks reach their receivers, however these answer, and none holds up another."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from openai import OpenAI
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import WebhookDelivery, WebhookEndpoint
from app.jobs import lifecycle
from app.safe_http.client import SafeHttpClient
from app.safe_http.ip_policy import parse_networks
from app.webhooks import attempts as errands
from app.webhooks import deliveries, endpoints
from app.webhooks.attempts import AttemptResult
from app.webhooks.sender import WebhookSender
from tests.app.webhooks.test_deliveries import add_endpoint, all_deliveries
from tests.factories import make_job, make_project
from tests.polling import wait_until
from tests.webhook_receivers import WebhookReceiver, respond_with_status, run_receiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with run_receiver() as receiver:
        yield receiver


@pytest.fixture
def couriers(sessions: SessionMaker) -> Iterator[WebhookSender]:
    made = WebhookSender(
        sessions, SafeHttpClient(parse_networks("127.0.0.1"), timeout_seconds=60), max_concurrent=4
    )
    yield made
    made.close()


class Scenario:
    """A project whose cancelled jobs are told of to receivers."""

    def __init__(self, sessions: SessionMaker) -> None:
        self.sessions = sessions
        with transaction(sessions) as session:
            self.project = make_project(session)

    def add_endpoint(self, receiver: WebhookReceiver) -> WebhookEndpoint:
        with transaction(self.sessions) as session:
            return add_endpoint(session, make_job(session, self.project), receiver.url)

    def cancel_job(self) -> str:
        with transaction(self.sessions) as session:
            job = make_job(session, self.project)
            lifecycle.cancel(session, self.project.id, job.id)
            return job.id

    def make_due(self) -> None:
        """Spare the test the wait before the next try."""
        with transaction(self.sessions) as session:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.state == "pending")
                .values(next_at=func.clock_timestamp())
            )

    def delivery(self) -> WebhookDelivery:
        with transaction(self.sessions) as session:
            return session.scalars(select(WebhookDelivery)).one()

    def wait_for(self, attempts: int, state: str) -> WebhookDelivery:
        def has_come() -> bool:
            row = self.delivery()
            return (row.attempts, row.state, row.claimed_until) == (attempts, state, None)

        wait_until(f"attempt {attempts} has left it {state}", has_come)
        return self.delivery()


@pytest.fixture
def ground(sessions: SessionMaker) -> Scenario:
    return Scenario(sessions)


def unwrap(receiver: WebhookReceiver, secret: str, number: int = 0) -> Any:
    headers, body = receiver.requests[number]
    return OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=secret)


class TestDelivering:
    def test_the_official_client_accepts_it(
        self, ground: Scenario, receiver: WebhookReceiver, couriers: WebhookSender
    ) -> None:
        endpoint = ground.add_endpoint(receiver)
        job_id = ground.cancel_job()
        couriers.dispatch_due()
        row = ground.wait_for(1, "succeeded")
        event = unwrap(receiver, endpoint.secret)
        assert (event.type, event.data.id) == ("fine_tuning.job.cancelled", job_id)
        headers, body = receiver.requests[0]
        assert headers["webhook-id"] == event.id == row.event_id
        assert body.decode() == row.body

    def test_a_failure_is_tried_again_with_the_same_id(
        self, ground: Scenario, receiver: WebhookReceiver, couriers: WebhookSender
    ) -> None:
        ground.add_endpoint(receiver)
        ground.cancel_job()
        receiver.respond = respond_with_status(500)
        couriers.dispatch_due()
        row = ground.wait_for(1, "pending")
        assert row.next_at is not None
        with transaction(ground.sessions) as session:
            now = clock.now(session)
        assert row.next_at > row.created_at + timedelta(seconds=20)
        assert row.next_at < now + timedelta(seconds=60)
        couriers.dispatch_due()
        receiver.respond = respond_with_status(200)
        ground.make_due()
        couriers.dispatch_due()
        ground.wait_for(2, "succeeded")
        first, second = (headers["webhook-id"] for headers, _ in receiver.requests)
        assert first == second
        with transaction(ground.sessions) as session:
            tries = deliveries.list_attempts(session, [row])[row.id]
        assert [(each.number, each.status) for each in tries] == [(1, 500), (2, 200)]

    def test_nothing_is_claimed_for_couriers_that_come_no_more(
        self, ground: Scenario, receiver: WebhookReceiver, couriers: WebhookSender
    ) -> None:
        ground.add_endpoint(receiver)
        ground.cancel_job()
        couriers.close()
        couriers.dispatch_due()
        assert ground.delivery().attempts == 0, "its claim would keep it from others for a minute"

    @pytest.mark.parametrize("code", [100, 204, 299, 301, 307, 400, 404, 503])
    def test_only_a_2xx_is_a_success(self, session: Session, code: int) -> None:
        assert AttemptResult(milliseconds=1, status=code).is_success == (code in (204, 299))

    def test_gone_ends_the_endpoint(
        self, ground: Scenario, receiver: WebhookReceiver, couriers: WebhookSender
    ) -> None:
        endpoint = ground.add_endpoint(receiver)
        ground.cancel_job()
        receiver.respond = respond_with_status(410)
        couriers.dispatch_due()
        ground.wait_for(1, "failed")
        ground.cancel_job()
        with transaction(ground.sessions) as session:
            assert session.get_one(WebhookEndpoint, endpoint.id).disabled_at is not None
            assert len(all_deliveries(session)) == 1, "nothing is announced to it any more"

    def test_one_that_hangs_does_not_hold_up_the_others(
        self, ground: Scenario, receiver: WebhookReceiver, couriers: WebhookSender
    ) -> None:
        done = threading.Event()
        with run_receiver() as slow:
            slow.respond = lambda _: done.wait(60)
            ground.add_endpoint(slow)
            ground.add_endpoint(receiver)
            # More events than couriers: all of them would wait at the slow one.
            for _ in range(6):
                ground.cancel_job()
            couriers.dispatch_due()
            wait_until(
                "the others have got theirs", lambda: len(receiver.requests) == 6, seconds=50
            )
            assert slow.connections == 1
            done.set()

    def test_a_courier_that_died_is_followed_by_another(
        self, ground: Scenario, receiver: WebhookReceiver, couriers: WebhookSender
    ) -> None:
        ground.add_endpoint(receiver)
        ground.cancel_job()
        with transaction(ground.sessions) as session:
            (lost,) = errands.claim_due(session, 5)
            assert errands.claim_due(session, 5) == []
        with transaction(ground.sessions) as session:
            session.execute(update(WebhookDelivery).values(claimed_until=func.now()))
        ground.make_due()
        couriers.dispatch_due()
        row = ground.wait_for(2, "succeeded")
        with transaction(ground.sessions) as session:
            # It was not dead, only slow: what it says now changes nothing.
            errands.record_result(session, lost, AttemptResult(milliseconds=1, status=500))
        assert ground.delivery().state == "succeeded"
        assert receiver.requests[0][0]["webhook-id"] == row.event_id

    def test_two_workers_share_the_work(self, ground: Scenario, receiver: WebhookReceiver) -> None:
        for _ in range(8):
            ground.add_endpoint(receiver)
        ground.cancel_job()
        claimed: list[str] = []

        def take() -> None:
            with transaction(ground.sessions) as session:
                claimed.extend(each.delivery_id for each in errands.claim_due(session, 8))

        workers = [threading.Thread(target=take) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        take()
        assert len(claimed) == len(set(claimed)) == 8

    def test_a_deleted_endpoint_is_forgotten_while_a_try_is_under_way(
        self, ground: Scenario
    ) -> None:
        with run_receiver() as receiver:
            endpoint = ground.add_endpoint(receiver)
            ground.cancel_job()
            with transaction(ground.sessions) as session:
                (errand,) = errands.claim_due(session, 5)
            with transaction(ground.sessions) as session:
                endpoints.delete(session, ground.project.id, endpoint.id)
            with transaction(ground.sessions) as session:
                errands.record_result(session, errand, AttemptResult(milliseconds=1, status=200))
                assert all_deliveries(session) == []
