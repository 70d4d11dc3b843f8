"""Webhook routes through the official client; invalid URLs; other projects."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import OpenAI
from openai.types.webhooks import WebhookEndpointWithSecret
from sqlalchemy import func, select, update

from app.db.session import SessionMaker, transaction
from app.db.tables import ENDED_BATCH_STATES, WebhookEndpoint
from app.webhooks import endpoints
from tests.app.http.test_admission import expect_error
from tests.webhook_receivers import WebhookReceiver, respond_with_status, run_receiver

URL = "https://1.1.1.1/hook"
EVENT_TYPES: list[Any] = ["fine_tuning.job.succeeded", "fine_tuning.job.failed"]


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with run_receiver() as receiver:
        yield receiver


def create(openai: OpenAI, url: str = URL) -> WebhookEndpointWithSecret:
    return openai.webhooks.create(name="job ends", url=url, event_types=EVENT_TYPES)


class TestEndpoints:
    def test_create_retrieve_update_delete(self, openai: OpenAI) -> None:
        created = create(openai)
        assert created.id.startswith("wh_")
        assert created.signing_secret.startswith("whsec_")
        assert (
            created.signing_secret_hint
            == f"whsec_\N{HORIZONTAL ELLIPSIS}{created.signing_secret[-4:]}"
        )
        retrieved = openai.webhooks.retrieve(created.id)
        assert (retrieved.name, retrieved.url, retrieved.event_types) == (
            "job ends",
            URL,
            EVENT_TYPES,
        )
        assert retrieved.created_at == retrieved.updated_at == created.created_at
        assert "signing_secret" not in retrieved.to_dict()
        changed = openai.webhooks.update(created.id, name="all", event_types=EVENT_TYPES[:1])
        assert (changed.name, changed.url, changed.event_types) == ("all", URL, EVENT_TYPES[:1])
        assert openai.webhooks.delete(created.id).deleted
        with pytest.raises(sdk.NotFoundError):
            openai.webhooks.retrieve(created.id)

    def test_an_update_without_changes_keeps_updated_at(
        self, openai: OpenAI, sessions: SessionMaker
    ) -> None:
        created = create(openai)
        with transaction(sessions) as session:
            past = WebhookEndpoint.updated_at - timedelta(hours=1)
            session.execute(update(WebhookEndpoint).values(updated_at=past))
        unchanged = openai.webhooks.update(created.id, name="job ends", url=URL)
        assert unchanged.updated_at == created.created_at - 3600
        assert (openai.webhooks.update(created.id, name="x").updated_at or 0) >= created.created_at

    def test_a_retried_request_creates_no_second_endpoint(self, openai: OpenAI) -> None:
        retrying = openai.with_options(default_headers={"Idempotency-Key": "a"})
        first, second = create(retrying), create(retrying)
        assert second.signing_secret == first.signing_secret
        assert [endpoint.id for endpoint in openai.webhooks.list()] == [first.id]

    def test_pages(self, openai: OpenAI) -> None:
        ids = [create(openai).id for _ in range(3)]
        assert [endpoint.id for endpoint in openai.webhooks.list(limit=2)] == ids[::-1]
        page = openai.webhooks.list(limit=2)
        assert page.has_more
        assert openai.webhooks.list(after="wh_none").data == []

    def test_event_types(self, openai: OpenAI) -> None:
        types = openai.webhooks.event_types.list().data
        of_batches = [f"batch.{state}" for state in ENDED_BATCH_STATES]
        assert types[:3] == [*EVENT_TYPES, "fine_tuning.job.cancelled"]
        assert set(of_batches) <= set(types)

    def test_rotation(self, openai: OpenAI, sessions: SessionMaker) -> None:
        def list_active_secrets() -> tuple[str, ...]:
            with transaction(sessions) as session:
                row = session.scalars(select(WebhookEndpoint)).one()
                return endpoints.list_signing_keys(session, row)

        first = create(openai)
        second = openai.webhooks.rotate_secret(first.id, keep_old_secret_active_for_24_hours=True)
        assert list_active_secrets() == (second.signing_secret, first.signing_secret)
        with transaction(sessions) as session:
            session.execute(update(WebhookEndpoint).values(old_secret_until=func.now()))
        assert list_active_secrets() == (second.signing_secret,)
        third = openai.webhooks.rotate_secret(first.id)
        assert list_active_secrets() == (third.signing_secret,)
        assert len({first.signing_secret, second.signing_secret, third.signing_secret}) == 3


class TestValidation:
    @pytest.mark.parametrize(
        "change",
        [
            {"url": ""},
            # The test service allows http to 127.0.0.1, and no other private address.
            {"url": "http://10.0.0.1/"},
            {"url": "ftp://127.0.0.1/"},
            {"url": "https://169.254.169.254/latest"},
            {"url": "https://[::ffff:10.0.0.1]/"},
            {"url": "https://2130706433/"},
            {"url": "https://u:p@hooks.example/"},
            {"url": "https://hooks.example/\r\nX: 1"},
            {"url": 5},
            {"url": None},
            {"event_types": []},
            {"event_types": ["batch.in_progress"]},
            {"event_types": "fine_tuning.job.failed"},
            {"name": ""},
            {"name": "x" * 257},
        ],
    )
    def test_invalid_bodies_are_rejected(self, http: httpx.Client, change: dict[str, Any]) -> None:
        body = {"name": "job ends", "url": URL, "event_types": EVENT_TYPES} | change
        error = expect_error(http.post("/v1/webhook_endpoints", json=body), 400)
        assert str(error["param"]).startswith(next(iter(change)))
        assert str(error["message"]).startswith("Invalid '"), error

    def test_the_endpoint_quota_of_a_project(self, http: httpx.Client) -> None:
        body = {"name": "job ends", "url": URL, "event_types": EVENT_TYPES}
        for _ in range(endpoints.MAX_ENDPOINTS):
            assert http.post("/v1/webhook_endpoints", json=body).status_code == 200
        error = expect_error(http.post("/v1/webhook_endpoints", json=body), 400)
        assert "at most" in str(error["message"])

    def test_another_project_gets_the_same_as_for_an_unknown_endpoint(
        self, openai: OpenAI, http: httpx.Client, other_tenant: httpx.Client
    ) -> None:
        endpoint_id = create(openai).id
        path = f"/v1/webhook_endpoints/{endpoint_id}"
        unknown = path.replace(endpoint_id, "wh_none")
        for method, tail, body in (
            ("GET", "", None),
            ("POST", "", {"name": "mine"}),
            ("DELETE", "", None),
            ("POST", "/rotate_secret", {}),
            ("POST", "/test", {"event_type": EVENT_TYPES[0]}),
            ("GET", "/deliveries", None),
        ):
            existing = expect_error(other_tenant.request(method, path + tail, json=body), 404)
            missing = expect_error(other_tenant.request(method, unknown + tail, json=body), 404)
            assert str(existing["message"]).replace(endpoint_id, "wh_none") == missing["message"]
        assert other_tenant.get("/v1/webhook_endpoints").json()["data"] == []
        listed = other_tenant.get("/v1/webhook_endpoints", params={"after": endpoint_id}).json()
        assert listed["data"] == []


class TestTestDeliveries:
    def test_a_sample_event_is_delivered_and_listed(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        created = create(openai, receiver.url)
        tested = openai.webhooks.test(created.id, event_type="fine_tuning.job.failed")
        assert (tested.success, tested.status_code) == (True, 204)
        headers, body = receiver.requests[0]
        event: Any = openai.webhooks.unwrap(body, headers, secret=created.signing_secret)
        assert event.type == "fine_tuning.job.failed"
        (log,) = http.get(f"/v1/webhook_endpoints/{created.id}/deliveries").json()["data"]
        assert (log["status"], log["event_id"]) == ("succeeded", event.id)
        assert log["next_attempt_at"] is None
        (attempt,) = log["attempts"]
        assert (attempt["number"], attempt["status"], attempt["error"]) == (1, 204, None)
        assert abs(attempt["ended_at"] - time.time()) < 60

    def test_a_failed_test_is_an_error_and_is_not_retried(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        created = create(openai, receiver.url)
        receiver.respond = respond_with_status(500)
        with pytest.raises(sdk.BadRequestError, match="status 500") as raised:
            openai.webhooks.test(created.id, event_type="fine_tuning.job.failed")
        assert raised.value.code == "webhook_delivery_failed"
        (log,) = http.get(f"/v1/webhook_endpoints/{created.id}/deliveries").json()["data"]
        assert (log["status"], log["next_attempt_at"]) == ("failed", None)

    def test_the_response_of_the_receiver_is_not_shown_to_the_user(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        created = create(openai, receiver.url)
        receiver.respond = lambda connection: connection.sendall(
            b"HTTP/1.1 403 canary\r\nX-Canary: canary\r\nContent-Length: 6\r\n\r\ncanary"
        )
        response = http.post(
            f"/v1/webhook_endpoints/{created.id}/test",
            json={"event_type": "fine_tuning.job.failed"},
        )
        log = http.get(f"/v1/webhook_endpoints/{created.id}/deliveries")
        assert "canary" not in response.text + log.text

    def test_410_disables_the_endpoint_until_it_is_updated(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        created = create(openai, receiver.url)
        receiver.respond = respond_with_status(410)
        with pytest.raises(sdk.BadRequestError):
            openai.webhooks.test(created.id, event_type="fine_tuning.job.failed")
        path = f"/v1/webhook_endpoints/{created.id}"
        assert http.get(path).json()["status"] == "disabled"
        assert http.post(path, json={}).json()["status"] == "enabled"
