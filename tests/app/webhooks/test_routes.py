"""Webhook endpoints through the official client, and what a stranger or a bad URL gets."""

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
from app.db.tables import WebhookEndpoint
from app.webhooks import endpoints
from tests.app.http.test_admission import expect_error
from tests.webhook_receivers import WebhookReceiver, respond_with_status, run_receiver

URL = "https://1.1.1.1/hook"
ENDS: list[Any] = ["fine_tuning.job.succeeded", "fine_tuning.job.failed"]


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with run_receiver() as receiver:
        yield receiver


def create(openai: OpenAI, url: str = URL) -> WebhookEndpointWithSecret:
    return openai.webhooks.create(name="ends", url=url, event_types=ENDS)


class TestEndpoints:
    def test_made_shown_changed_and_removed(self, openai: OpenAI) -> None:
        made = create(openai)
        assert made.id.startswith("wh_")
        assert made.signing_secret.startswith("whsec_")
        assert (
            made.signing_secret_hint == f"whsec_\N{HORIZONTAL ELLIPSIS}{made.signing_secret[-4:]}"
        )
        found = openai.webhooks.retrieve(made.id)
        assert (found.name, found.url, found.event_types) == ("ends", URL, ENDS)
        assert found.created_at == found.updated_at == made.created_at
        assert "signing_secret" not in found.to_dict()
        changed = openai.webhooks.update(made.id, name="all", event_types=ENDS[:1])
        assert (changed.name, changed.url, changed.event_types) == ("all", URL, ENDS[:1])
        assert openai.webhooks.delete(made.id).deleted
        with pytest.raises(sdk.NotFoundError):
            openai.webhooks.retrieve(made.id)

    def test_an_update_that_changes_nothing_is_not_one(
        self, openai: OpenAI, sessions: SessionMaker
    ) -> None:
        made = create(openai)
        with transaction(sessions) as session:
            past = WebhookEndpoint.updated_at - timedelta(hours=1)
            session.execute(update(WebhookEndpoint).values(updated_at=past))
        unchanged = openai.webhooks.update(made.id, name="ends", url=URL)
        assert unchanged.updated_at == made.created_at - 3600
        assert (openai.webhooks.update(made.id, name="x").updated_at or 0) >= made.created_at

    def test_a_repeated_request_makes_no_second_one(self, openai: OpenAI) -> None:
        again = openai.with_options(default_headers={"Idempotency-Key": "a"})
        first, second = create(again), create(again)
        assert second.signing_secret == first.signing_secret
        assert [each.id for each in openai.webhooks.list()] == [first.id]

    def test_pages(self, openai: OpenAI) -> None:
        ids = [create(openai).id for _ in range(3)]
        assert [each.id for each in openai.webhooks.list(limit=2)] == ids[::-1]
        page = openai.webhooks.list(limit=2)
        assert page.has_more
        assert openai.webhooks.list(after="wh_none").data == []

    def test_event_types(self, openai: OpenAI) -> None:
        types = openai.webhooks.event_types.list().data
        assert types == [*ENDS, "fine_tuning.job.cancelled"]

    def test_rotation(self, openai: OpenAI, sessions: SessionMaker) -> None:
        def active() -> tuple[str, ...]:
            with transaction(sessions) as session:
                row = session.scalars(select(WebhookEndpoint)).one()
                return endpoints.signing_keys(session, row)

        first = create(openai)
        second = openai.webhooks.rotate_secret(first.id, keep_old_secret_active_for_24_hours=True)
        assert active() == (second.signing_secret, first.signing_secret)
        with transaction(sessions) as session:
            session.execute(update(WebhookEndpoint).values(old_secret_until=func.now()))
        assert active() == (second.signing_secret,)
        third = openai.webhooks.rotate_secret(first.id)
        assert active() == (third.signing_secret,)
        assert len({first.signing_secret, second.signing_secret, third.signing_secret}) == 3


class TestRefused:
    @pytest.mark.parametrize(
        "change",
        [
            {"url": ""},
            # This service may reach 127.0.0.1 by http, and nothing else that is private.
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
            {"event_types": ["batch.completed"]},
            {"event_types": "fine_tuning.job.failed"},
            {"name": ""},
            {"name": "x" * 257},
        ],
    )
    def test_what_cannot_be(self, http: httpx.Client, change: dict[str, Any]) -> None:
        body = {"name": "ends", "url": URL, "event_types": ENDS} | change
        error = expect_error(http.post("/v1/webhook_endpoints", json=body), 400)
        assert str(error["param"]).startswith(next(iter(change)))
        assert str(error["message"]).startswith("Invalid '"), error

    def test_more_than_a_project_may_have(self, http: httpx.Client) -> None:
        body = {"name": "ends", "url": URL, "event_types": ENDS}
        for _ in range(endpoints.MAX_ENDPOINTS):
            assert http.post("/v1/webhook_endpoints", json=body).status_code == 200
        error = expect_error(http.post("/v1/webhook_endpoints", json=body), 400)
        assert "at most" in str(error["message"])

    def test_a_stranger_finds_nothing(
        self, openai: OpenAI, http: httpx.Client, stranger: httpx.Client
    ) -> None:
        endpoint_id = create(openai).id
        path = f"/v1/webhook_endpoints/{endpoint_id}"
        unknown = path.replace(endpoint_id, "wh_none")
        for method, tail, body in (
            ("GET", "", None),
            ("POST", "", {"name": "mine"}),
            ("DELETE", "", None),
            ("POST", "/rotate_secret", {}),
            ("POST", "/test", {"event_type": ENDS[0]}),
            ("GET", "/deliveries", None),
        ):
            theirs = expect_error(stranger.request(method, path + tail, json=body), 404)
            none = expect_error(stranger.request(method, unknown + tail, json=body), 404)
            assert str(theirs["message"]).replace(endpoint_id, "wh_none") == none["message"]
        assert stranger.get("/v1/webhook_endpoints").json()["data"] == []
        listed = stranger.get("/v1/webhook_endpoints", params={"after": endpoint_id}).json()
        assert listed["data"] == []


class TestTests:
    def test_a_sample_is_delivered_and_logged(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        made = create(openai, receiver.url)
        tested = openai.webhooks.test(made.id, event_type="fine_tuning.job.failed")
        assert (tested.success, tested.status_code) == (True, 204)
        headers, body = receiver.requests[0]
        event: Any = openai.webhooks.unwrap(body, headers, secret=made.signing_secret)
        assert event.type == "fine_tuning.job.failed"
        (log,) = http.get(f"/v1/webhook_endpoints/{made.id}/deliveries").json()["data"]
        assert (log["status"], log["event_id"]) == ("succeeded", event.id)
        assert log["next_attempt_at"] is None
        (attempt,) = log["attempts"]
        assert (attempt["number"], attempt["status"], attempt["error"]) == (1, 204, None)
        assert abs(attempt["ended_at"] - time.time()) < 60

    def test_a_failed_one_is_an_error_and_is_not_tried_again(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        made = create(openai, receiver.url)
        receiver.respond = respond_with_status(500)
        with pytest.raises(sdk.BadRequestError, match="the status 500") as raised:
            openai.webhooks.test(made.id, event_type="fine_tuning.job.failed")
        assert raised.value.code == "webhook_delivery_failed"
        (log,) = http.get(f"/v1/webhook_endpoints/{made.id}/deliveries").json()["data"]
        assert (log["status"], log["next_attempt_at"]) == ("failed", None)

    def test_the_answer_of_the_receiver_is_kept_from_the_user(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        made = create(openai, receiver.url)
        receiver.respond = lambda connection: connection.sendall(
            b"HTTP/1.1 403 canary\r\nX-Canary: canary\r\nContent-Length: 6\r\n\r\ncanary"
        )
        answer = http.post(
            f"/v1/webhook_endpoints/{made.id}/test", json={"event_type": "fine_tuning.job.failed"}
        )
        log = http.get(f"/v1/webhook_endpoints/{made.id}/deliveries")
        assert "canary" not in answer.text + log.text

    def test_one_that_is_gone_is_disabled_until_it_is_updated(
        self, openai: OpenAI, http: httpx.Client, receiver: WebhookReceiver
    ) -> None:
        made = create(openai, receiver.url)
        receiver.respond = respond_with_status(410)
        with pytest.raises(sdk.BadRequestError):
            openai.webhooks.test(made.id, event_type="fine_tuning.job.failed")
        path = f"/v1/webhook_endpoints/{made.id}"
        assert http.get(path).json()["status"] == "disabled"
        assert http.post(path, json={}).json()["status"] == "enabled"
