"""Responses in the background: made by the runner beside the live API, cancelled, and followed."""

import json
from typing import Any

import anyio
import httpx
import pytest
from openai import BadRequestError, OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.db.tables import (
    Project,
    ResponseState,
    StoredResponse,
    TokenUsage,
    WebhookDelivery,
    WorkList,
    WorkResult,
)
from app.files import quota
from app.operations import reconciler
from app.organization import projects
from app.responses import background, replay
from app.work import range_run
from app.work.runner import WorkRunner
from tests.app.http.test_admission import expect_error
from tests.app.responses.test_create import PATH, answer, ask
from tests.app.responses.test_stream import TEXT_EVENTS, kinds
from tests.live_api import Account, Api
from tests.live_server import FakeEngine
from tests.polling import wait_until
from tests.work_runner import RunWork

UNFINISHED = ("queued", "in_progress")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> None:
    """Every test has a fresh engine."""
    monkeypatch.setattr(range_run, "MIN_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(range_run, "RECORDING_INTERVAL_SECONDS", 0.02)


def wait_for_end(openai: OpenAI, response_id: str) -> Any:
    def is_finished() -> bool:
        return openai.responses.retrieve(response_id).status not in UNFINISHED

    wait_until("the response is finished", is_finished)
    return openai.responses.retrieve(response_id)


def count(session: Session, *tables: Any) -> list[int]:
    session.rollback()
    return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


BODY: Any = {"model": "base", "input": "a", "instructions": "i", "background": True}
RETRY = {"x-stainless-retry-count": "1"}


class TestRetries:
    def test_a_retried_request_creates_one(self, http: httpx.Client, session: Session) -> None:
        first = http.post(PATH, json=BODY)
        assert first.status_code == 200, first.text
        again = http.post(PATH, json=BODY, headers=RETRY)
        assert again.json() == first.json()
        assert again.headers["Idempotent-Replayed"] == "true"
        assert count(session, StoredResponse, WorkList) == [1, 1]
        other = http.post(PATH, json=BODY)
        assert other.json()["id"] != first.json()["id"]

    def test_equal_turns_of_a_conversation_are_told_apart(
        self, http: httpx.Client, session: Session
    ) -> None:
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = BODY | {"conversation": conversation}
        first, second = (http.post(PATH, json=body, headers=RETRY) for _ in range(2))
        assert second.json()["id"] != first.json()["id"]
        assert count(session, StoredResponse, WorkList) == [2, 2]
        key = {"Idempotency-Key": "k"}
        third, again = (http.post(PATH, json=body, headers=key) for _ in range(2))
        assert again.json() == third.json()
        assert count(session, StoredResponse, WorkList) == [3, 3]

    def test_a_retried_stream_follows_the_first(
        self, http: httpx.Client, session: Session, runner: WorkRunner
    ) -> None:
        body = BODY | {"stream": True}
        first = http.post(PATH, json=body)
        again = http.post(PATH, json=body, headers=RETRY)
        assert "response.completed" in first.text
        assert again.text == first.text
        assert count(session, StoredResponse) == [1]

    def test_a_key_names_a_request(self, http: httpx.Client, session: Session) -> None:
        key = {"Idempotency-Key": "k"}
        first, again = (http.post(PATH, json=BODY, headers=key) for _ in range(2))
        assert again.json() == first.json()
        other = http.post(PATH, json=BODY | {"input": "b"}, headers=key)
        assert expect_error(other, 400)["code"] == "idempotency_key_reused"
        assert count(session, StoredResponse) == [1]


class TestAnswer:
    def test_a_response_is_made(
        self, openai: OpenAI, run_work: RunWork, session: Session, account: Account
    ) -> None:
        created = openai.responses.create(
            model="gpt-4o-mini", input="hello", background=True, metadata={"k": "v"}
        )
        assert (created.status, created.background, created.output) == ("queued", True, [])
        assert openai.responses.retrieve(created.id).status == "queued"
        with run_work():
            response = wait_for_end(openai, created.id)
        assert (response.status, response.output_text) == ("completed", "Hello")
        assert (response.metadata, response.usage.total_tokens) == ({"k": "v"}, 2)
        session.rollback()
        row = session.scalars(select(TokenUsage)).one()
        assert (row.requests, row.input_tokens, row.output_tokens) == (1, 1, 1)
        assert (row.api_key_id, row.is_batch) == (account.principal.key_id, False)
        assert count(session, WorkList, WorkResult) == [0, 0]
        used = quota.get_usage(session, account.principal.project_id).bytes
        assert used == session.scalar(select(StoredResponse.bytes))

    def test_it_is_continued(self, openai: OpenAI, runner: WorkRunner, engine: FakeEngine) -> None:
        conversation = openai.conversations.create()
        first = openai.responses.create(
            model="base", input="a", background=True, conversation=conversation.id
        )
        wait_for_end(openai, first.id)
        items: list[Any] = list(openai.conversations.items.list(conversation.id, order="asc"))
        assert [item.content[0].text for item in items] == ["a", "Hello"]
        openai.responses.create(model="base", input="b", previous_response_id=first.id)
        messages = engine.bodies[-1]["messages"]
        assert [message["content"] for message in messages] == ["a", "Hello", "b"]

    def test_one_that_is_not_finished_cannot_be_continued(self, openai: OpenAI) -> None:
        first = openai.responses.create(model="base", input="a", background=True)
        with pytest.raises(BadRequestError, match="not finished yet"):
            openai.responses.create(model="base", input="b", previous_response_id=first.id)

    def test_a_deleted_conversation_is_an_error(self, openai: OpenAI, run_work: RunWork) -> None:
        conversation = openai.conversations.create()
        created = openai.responses.create(
            model="base", input="a", background=True, conversation=conversation.id
        )
        openai.conversations.delete(conversation.id)
        with run_work():
            response = wait_for_end(openai, created.id)
        assert response.status == "failed"
        assert conversation.id in response.error.message

    def test_the_requests_errors(self, openai: OpenAI, runner: WorkRunner) -> None:
        created = openai.responses.create(model="base", input="too long", background=True)
        response = wait_for_end(openai, created.id)
        assert response.status == "failed"
        assert response.error.code == "invalid_prompt"
        assert "maximum context length" in response.error.message

    def test_nonsense(self, http: httpx.Client, openai: OpenAI, runner: WorkRunner) -> None:
        asked = {"role": "user", "content": 'answer 200 {"choices": []}'}
        created = ask(http, input=[asked], background=True)
        assert wait_for_end(openai, created["id"]).error.code == "server_error"

    def test_another_process_takes_over(
        self, openai: OpenAI, run_work: RunWork, sessions: SessionMaker, engine: FakeEngine
    ) -> None:
        """A process that ends in the middle gives the request back, which is sent again."""
        created = openai.responses.create(model="base", input="wait", background=True)
        with run_work():
            wait_until("the engine has the request", lambda: engine.bodies)
            assert openai.responses.retrieve(created.id).status == "in_progress"
        with transaction(sessions) as session:
            row = session.get_one(StoredResponse, created.id)
            assert row.engine_request is not None
            row.engine_request = row.engine_request.replace(b'"wait"', b'"hello"')
        with run_work():
            assert wait_for_end(openai, created.id).output_text == "Hello"

    def test_it_expires(self, openai: OpenAI, run_work: RunWork, sessions: SessionMaker) -> None:
        created = openai.responses.create(model="base", input="hello", background=True)
        with transaction(sessions) as session:
            session.get_one(WorkList, created.id).expires_at = clock.seconds_from_now(-1)
        with transaction(sessions) as session:
            reconciler.expire_work(session, created.id)
        with run_work():
            response = wait_for_end(openai, created.id)
        assert "within 24 hours" in response.error.message


class TestCancelAndDelete:
    def test_cancel(
        self, openai: OpenAI, runner: WorkRunner, engine: FakeEngine, session: Session
    ) -> None:
        created = openai.responses.create(model="base", input="wait", background=True)
        wait_until("the engine has the request", lambda: engine.bodies)
        cancelled = openai.responses.cancel(created.id)
        assert cancelled.status == "cancelled"
        assert openai.responses.cancel(created.id).status == "cancelled", "idempotent"
        wait_until("the engine is told", engine.aborted.is_set)
        wait_until("the work has ended", lambda: count(session, WorkList) == [0])
        assert openai.responses.retrieve(created.id).status == "cancelled"

    def test_a_finished_one_is_returned(self, openai: OpenAI, runner: WorkRunner) -> None:
        created = openai.responses.create(model="base", input="hello", background=True)
        wait_for_end(openai, created.id)
        assert openai.responses.cancel(created.id).output_text == "Hello"

    def test_errors(self, openai: OpenAI, http: httpx.Client, other_tenant: httpx.Client) -> None:
        made = ask(http)["id"]
        with pytest.raises(BadRequestError, match="Cannot cancel a synchronous response"):
            openai.responses.cancel(made)
        theirs = ask(other_tenant, background=True)["id"]
        assert http.post(f"{PATH}/{theirs}/cancel").status_code == 404
        body = {"model": "base", "input": "a", "background": True, "store": False}
        assert expect_error(http.post(PATH, json=body), 400)["param"] == "background"

    def test_delete(
        self, openai: OpenAI, runner: WorkRunner, engine: FakeEngine, session: Session
    ) -> None:
        created = openai.responses.create(model="base", input="wait", background=True)
        wait_until("the engine has the request", lambda: engine.bodies)
        openai.responses.delete(created.id)
        assert count(session, StoredResponse, WorkList) == [0, 0]
        wait_until("the engine is told", engine.aborted.is_set)

    def test_an_archived_projects_are_cancelled(
        self, http: httpx.Client, session: Session, account: Account
    ) -> None:
        created = ask(http, background=True)["id"]
        principal = account.principal
        project = session.get_one(Project, principal.project_id)
        projects.archive(session, project.organization_id, project.id)
        session.commit()
        assert session.get_one(StoredResponse, created).state == "cancelled"

    def test_webhooks(self, openai: OpenAI, runner: WorkRunner, session: Session) -> None:
        openai.webhooks.create(
            name="hook", url="https://example.com/hook", event_types=["response.completed"]
        )
        created = openai.responses.create(model="base", input="hello", background=True)
        wait_for_end(openai, created.id)
        session.rollback()
        delivery = session.scalars(select(WebhookDelivery)).one()
        assert delivery.event_type == "response.completed"
        assert created.id in delivery.body


class TestStream:
    def test_events(self, openai: OpenAI, http: httpx.Client, runner: WorkRunner) -> None:
        message = {"role": "assistant", "content": "I add.", "reasoning_content": "Hm"}
        asked: Any = [answer(message)]
        with openai.responses.stream(model="base", input=asked, background=True) as events:
            seen = [
                {"type": event.type, "sequence_number": event.sequence_number} for event in events
            ]
            final = events.get_final_response()
        reasoning = [each.replace("output_text", "reasoning_text") for each in TEXT_EVENTS]
        assert kinds(seen) == [
            *("created", "queued", "in_progress", *reasoning, *TEXT_EVENTS, "completed")
        ]
        assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
        assert final.output_text == "I add."
        assert [item.id for item in final.output] == [
            item.id for item in openai.responses.retrieve(final.id).output
        ]
        for after in (0, 2, 7, len(seen) - 2):
            rest = openai.responses.retrieve(final.id, stream=True, starting_after=after)
            numbers = [event.sequence_number for event in rest]
            assert numbers == list(range(after + 1, len(seen)))

    def test_what_has_no_answer(self, openai: OpenAI, runner: WorkRunner) -> None:
        created = openai.responses.create(model="base", input="too long", background=True)
        *_, last = openai.responses.retrieve(created.id, stream=True)
        assert last.type == "response.failed"
        assert last.response.error is not None

    def test_it_is_deleted_meanwhile(self, http: httpx.Client) -> None:
        """The status is sent already: the stream ends with an event that says what happened."""
        created = ask(http, background=True)["id"]
        with http.stream("GET", f"{PATH}/{created}", params={"stream": True}) as events:
            lines = events.iter_lines()
            assert next(lines) == "event: response.created"
            http.delete(f"{PATH}/{created}")
            last = [json.loads(line[6:]) for line in lines if line.startswith("data: ")][-1]
        assert (last["type"], last["sequence_number"]) == ("error", 2)
        assert f"Response with id '{created}' not found" in last["message"]

    def test_the_response_is_read_when_it_is_finished(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may be large: only its state is asked for in between."""
        monkeypatch.setattr(replay, "POLL_SECONDS", 0)
        states = iter(["queued"] * 5 + ["in_progress"] * 5 + ["completed"])
        reads: list[str] = []

        async def read() -> dict[str, Any]:
            reads.append("read")
            status = "queued" if len(reads) == 1 else "completed"
            return {"id": "resp_1", "status": status, "output": []}

        async def read_state() -> ResponseState:
            return ResponseState(next(states))

        assert replayed(read, read_state) == [
            *(f"response.{kind}" for kind in ("created", "queued", "in_progress", "completed"))
        ]
        assert len(reads) == 2
        assert list(states) == []

    def test_the_database_goes_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replay, "POLL_SECONDS", 0)

        responses = iter([{"id": "resp_1", "status": "in_progress", "output": []}])

        async def read() -> dict[str, Any]:
            return next(responses)

        async def read_state() -> ResponseState:
            raise DatabaseUnavailable("gone")

        kinds = ("response.created", "response.queued", "response.in_progress", "error")
        assert replayed(read, read_state) == [*kinds]

    def test_only_of_the_background(self, openai: OpenAI, http: httpx.Client) -> None:
        with pytest.raises(BadRequestError, match="'background': true"):
            openai.responses.retrieve(ask(http)["id"], stream=True)


def replayed(read: Any, read_state: Any) -> list[str]:
    """The types of the events of a replay."""

    async def run() -> bytes:
        stream = replay.stream(read, read_state, starting_after=None)
        return b"".join([events async for events in stream])

    data = [line[6:] for line in anyio.run(run).splitlines() if line.startswith(b"data: ")]
    return [json.loads(line)["type"] for line in data]


def test_few_are_unfinished_at_a_time(
    http: httpx.Client, other_tenant: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAX_OPEN_RESPONSES", 2)
    first, second = (ask(http, background=True)["id"] for _ in range(2))
    body = {"model": "base", "input": "a", "background": True}
    refused = http.post(PATH, json=body)
    error = expect_error(refused, 429)
    assert error["code"] == "rate_limit_exceeded"
    assert "its maximum of 2 unfinished responses" in str(error["message"])
    assert refused.headers["x-should-retry"] == "false"
    ask(http)
    ask(other_tenant, background=True)
    http.post(f"{PATH}/{first}/cancel")
    ask(http, background=True)
    assert http.post(PATH, json=body).status_code == 429
    http.delete(f"{PATH}/{second}")
    ask(http, background=True)


def test_they_are_served_after_a_restart_of_the_api(api: Api, openai: OpenAI) -> None:
    """What is stored is the response as it was sent."""
    created = openai.responses.create(model="base", input="hello", background=True)
    assert openai.responses.retrieve(created.id).to_dict() == created.to_dict()
