"""The webhook sender: deliveries, retries and isolation between receivers."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
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
from app.webhooks import attempts, deliveries, endpoints
from app.webhooks.attempts import AttemptResult
from app.webhooks.sender import WebhookSender
from tests.app.webhooks.test_deliveries import add_endpoint, list_deliveries
from tests.factories import make_job, make_project
from tests.polling import wait_until
from tests.webhook_receivers import WebhookReceiver, respond_with_status, run_receiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with run_receiver() as receiver:
        yield receiver


@pytest.fixture
def sender(sessions: SessionMaker) -> Iterator[WebhookSender]:
    sender = WebhookSender(
        sessions, SafeHttpClient((ip_network("127.0.0.1"),), timeout_seconds=60), max_concurrent=4
    )
    yield sender
    sender.close()


class Scenario:
    """A project whose receivers get an event for each job that is cancelled."""

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
        """Make pending deliveries due now instead of after their backoff."""
        with transaction(self.sessions) as session:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.state == "pending")
                .values(next_attempt_at=func.clock_timestamp())
            )

    def delivery(self) -> WebhookDelivery:
        with transaction(self.sessions) as session:
            return session.scalars(select(WebhookDelivery)).one()

    def wait_for(self, attempts: int, state: str) -> WebhookDelivery:
        def has_reached_state() -> bool:
            row = self.delivery()
            return (row.attempts, row.state, row.claimed_until) == (attempts, state, None)

        wait_until(f"attempt {attempts} has left it {state}", has_reached_state)
        return self.delivery()


@pytest.fixture
def scenario(sessions: SessionMaker) -> Scenario:
    return Scenario(sessions)


def unwrap(receiver: WebhookReceiver, secret: str, number: int = 0) -> Any:
    headers, body = receiver.requests[number]
    return OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=secret)


class TestDelivering:
    def test_the_official_client_accepts_a_delivery(
        self, scenario: Scenario, receiver: WebhookReceiver, sender: WebhookSender
    ) -> None:
        endpoint = scenario.add_endpoint(receiver)
        job_id = scenario.cancel_job()
        sender.dispatch_due()
        row = scenario.wait_for(1, "succeeded")
        event = unwrap(receiver, endpoint.secret)
        assert (event.type, event.data.id) == ("fine_tuning.job.cancelled", job_id)
        headers, body = receiver.requests[0]
        assert headers["webhook-id"] == event.id == row.event_id
        assert body.decode() == row.body

    def test_a_failed_delivery_is_retried_with_the_same_event_id(
        self, scenario: Scenario, receiver: WebhookReceiver, sender: WebhookSender
    ) -> None:
        scenario.add_endpoint(receiver)
        scenario.cancel_job()
        receiver.respond = respond_with_status(500)
        sender.dispatch_due()
        row = scenario.wait_for(1, "pending")
        assert row.next_attempt_at is not None
        with transaction(scenario.sessions) as session:
            now = clock.now(session)
        assert row.next_attempt_at > row.created_at + timedelta(seconds=20)
        assert row.next_attempt_at < now + timedelta(seconds=60)
        sender.dispatch_due()
        receiver.respond = respond_with_status(200)
        scenario.make_due()
        sender.dispatch_due()
        scenario.wait_for(2, "succeeded")
        first, second = (headers["webhook-id"] for headers, _ in receiver.requests)
        assert first == second
        with transaction(scenario.sessions) as session:
            rows = deliveries.list_attempts(session, [row])[row.id]
        assert [(attempt.number, attempt.status) for attempt in rows] == [(1, 500), (2, 200)]

    def test_a_closed_sender_claims_nothing(
        self, scenario: Scenario, receiver: WebhookReceiver, sender: WebhookSender
    ) -> None:
        scenario.add_endpoint(receiver)
        scenario.cancel_job()
        sender.close()
        sender.dispatch_due()
        assert scenario.delivery().attempts == 0, "its claim would keep it from others for a minute"

    @pytest.mark.parametrize("code", [100, 204, 299, 301, 307, 400, 404, 503])
    def test_only_a_2xx_is_a_success(self, session: Session, code: int) -> None:
        assert AttemptResult(milliseconds=1, status=code).is_success == (code in (204, 299))

    def test_410_disables_the_endpoint(
        self, scenario: Scenario, receiver: WebhookReceiver, sender: WebhookSender
    ) -> None:
        endpoint = scenario.add_endpoint(receiver)
        scenario.cancel_job()
        receiver.respond = respond_with_status(410)
        sender.dispatch_due()
        scenario.wait_for(1, "failed")
        scenario.cancel_job()
        with transaction(scenario.sessions) as session:
            assert session.get_one(WebhookEndpoint, endpoint.id).disabled_at is not None
            assert len(list_deliveries(session)) == 1, "a disabled endpoint gets no more events"

    def test_a_hanging_receiver_does_not_delay_the_others(
        self, scenario: Scenario, receiver: WebhookReceiver, sender: WebhookSender
    ) -> None:
        done = threading.Event()
        with run_receiver() as slow:
            slow.respond = lambda _: done.wait(60)
            scenario.add_endpoint(slow)
            scenario.add_endpoint(receiver)
            # More events than threads, so all threads could wait for the slow receiver.
            for _ in range(6):
                scenario.cancel_job()
            sender.dispatch_due()
            wait_until(
                "the other receiver has all its events",
                lambda: len(receiver.requests) == 6,
                seconds=50,
            )
            assert slow.connections == 1
            done.set()

    def test_a56_hanging_receivers_of_one_project_do_not_delay_other_projects(
        self, scenario: Scenario, receiver: WebhookReceiver, sessions: SessionMaker
    ) -> None:
        done = threading.Event()
        threads = attempts.MAX_IN_FLIGHT_PER_PROJECT + 1
        client = SafeHttpClient((ip_network("127.0.0.1"),), timeout_seconds=60)
        sender = WebhookSender(sessions, client, max_concurrent=threads)
        with run_receiver() as slow:
            slow.respond = lambda _: done.wait(60)
            for _ in range(endpoints.MAX_ENDPOINTS):
                scenario.add_endpoint(slow)
            scenario.cancel_job()
            sender.dispatch_due()
            neighbour = Scenario(sessions)
            neighbour.add_endpoint(receiver)
            for _ in range(3):
                neighbour.cancel_job()
            sender.dispatch_due()
            wait_until("the neighbour has all its events", lambda: len(receiver.requests) == 3)
            assert slow.connections == attempts.MAX_IN_FLIGHT_PER_PROJECT
            done.set()
            sender.close()

    def test_an_attempt_whose_sender_died_is_made_again(
        self, scenario: Scenario, receiver: WebhookReceiver, sender: WebhookSender
    ) -> None:
        scenario.add_endpoint(receiver)
        scenario.cancel_job()
        with transaction(scenario.sessions) as session:
            (lost,) = attempts.claim_due(session, 5)
            assert attempts.claim_due(session, 5) == []
        with transaction(scenario.sessions) as session:
            session.execute(update(WebhookDelivery).values(claimed_until=func.now()))
        scenario.make_due()
        sender.dispatch_due()
        row = scenario.wait_for(2, "succeeded")
        with transaction(scenario.sessions) as session:
            # The sender was only slow: its late result changes nothing.
            attempts.record_result(session, lost, AttemptResult(milliseconds=1, status=500))
        assert scenario.delivery().state == "succeeded"
        assert receiver.requests[0][0]["webhook-id"] == row.event_id

    def test_concurrent_claims_share_the_deliveries(
        self, scenario: Scenario, receiver: WebhookReceiver
    ) -> None:
        for project in (scenario, Scenario(scenario.sessions)):
            for _ in range(attempts.MAX_IN_FLIGHT_PER_PROJECT):
                project.add_endpoint(receiver)
            project.cancel_job()
        claimed: list[str] = []

        def claim() -> None:
            with transaction(scenario.sessions) as session:
                claimed.extend(attempt.delivery_id for attempt in attempts.claim_due(session, 8))

        threads = [threading.Thread(target=claim) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        claim()
        assert len(claimed) == len(set(claimed)) == 8

    def test_an_endpoint_can_be_deleted_while_an_attempt_is_in_flight(
        self, scenario: Scenario
    ) -> None:
        with run_receiver() as receiver:
            endpoint = scenario.add_endpoint(receiver)
            scenario.cancel_job()
            with transaction(scenario.sessions) as session:
                (attempt,) = attempts.claim_due(session, 5)
            with transaction(scenario.sessions) as session:
                endpoints.delete(session, scenario.project.id, endpoint.id)
            with transaction(scenario.sessions) as session:
                attempts.record_result(session, attempt, AttemptResult(milliseconds=1, status=200))
                assert list_deliveries(session) == []
