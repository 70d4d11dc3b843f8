"""Stored responses: retrieved, deleted, continued, referred to, and counted in the quota."""

from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from anyio import to_thread
from fastapi.testclient import TestClient
from openai import BadRequestError, NotFoundError, OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import Project, StoredResponse
from app.files import quota
from app.main import create_app
from app.operations.retention import RetentionPolicy, sweep
from app.responses import preparation
from app.responses.context import MAX_ITEMS
from app.settings import Settings
from tests.app.http.test_admission import expect_error
from tests.app.responses.test_create import ADD, PATH, ask
from tests.app.responses.test_stream import CALL_PARTS, kinds, parts, read_events, stream
from tests.live_api import Account, Api
from tests.live_server import FakeEngine


@pytest.fixture(autouse=True)
def _engine(engine: FakeEngine) -> None:
    """Every test has a fresh engine."""


def list_texts(http: httpx.Client, conversation: str) -> list[str]:
    """The texts of a conversation's items, oldest first."""
    items = http.get(f"/v1/conversations/{conversation}/items?order=asc").json()["data"]
    return [item["content"][0]["text"] for item in items]


def contents(engine: FakeEngine) -> list[Any]:
    """The contents of the messages that the engine got last."""
    return [message["content"] for message in engine.bodies[-1]["messages"]]


class TestLifeOfAResponse:
    def test_retrieve_and_delete(self, openai: OpenAI) -> None:
        created = openai.responses.create(model="base", input="hello", metadata={"k": "v"})
        stored = openai.responses.retrieve(created.id)
        assert stored.to_dict() == created.to_dict()
        assert (stored.output_text, stored.metadata) == ("Hello", {"k": "v"})
        openai.responses.delete(created.id)
        with pytest.raises(NotFoundError, match=created.id):
            openai.responses.retrieve(created.id)
        with pytest.raises(NotFoundError):
            openai.responses.delete(created.id)

    def test_it_can_be_retrieved_as_soon_as_a_stream_has_ended(self, http: httpx.Client) -> None:
        last = stream(http, parts(*CALL_PARTS), tools=[ADD])[-1]["response"]
        assert http.get(f"{PATH}/{last['id']}").json() == last
        assert last["store"]

    def test_not_stored(self, http: httpx.Client, session: Session) -> None:
        response = ask(http, store=False)
        assert not response["store"]
        assert http.get(f"{PATH}/{response['id']}").status_code == 404
        assert session.scalar(select(func.count()).select_from(StoredResponse)) == 0

    def test_errors_are_not_stored(self, http: httpx.Client, session: Session) -> None:
        body = {"model": "base", "input": "too long"}
        assert http.post(PATH, json=body).status_code == 400
        assert session.scalar(select(func.count()).select_from(StoredResponse)) == 0

    def test_input_items(self, openai: OpenAI) -> None:
        asked: Any = [{"role": "user", "content": str(number)} for number in range(3)]
        created = openai.responses.create(model="base", input=asked)
        items = openai.responses.input_items
        newest: list[Any] = list(items.list(created.id, limit=2))
        assert [each.content[0].text for each in newest] == ["2", "1", "0"], "over several pages"
        oldest: list[Any] = list(items.list(created.id, order="asc"))
        assert [each.id for each in oldest] == [each.id for each in newest[::-1]]
        assert list(items.list(created.id, after="msg_unknown")) == []
        page = items.list(created.id, after=newest[0].id, limit=1)
        assert ([each.id for each in page.data], page.has_more) == ([newest[1].id], True)


class TestPreviousResponse:
    def test_a_chain(self, openai: OpenAI, engine: FakeEngine) -> None:
        first = openai.responses.create(model="base", input="a", instructions="Be brief.")
        second = openai.responses.create(model="base", input="b", previous_response_id=first.id)
        third = openai.responses.create(model="base", input="c", previous_response_id=second.id)
        assert third.previous_response_id == second.id
        assert contents(engine) == ["a", "Hello", "b", "Hello", "c"], "without the instructions"

    def test_the_result_of_a_call(self, http: httpx.Client, engine: FakeEngine) -> None:
        called = stream(http, parts(*CALL_PARTS), tools=[ADD])[-1]["response"]
        results = [
            {"type": "function_call_output", "call_id": f"call_{number}", "output": str(number)}
            for number in (1, 2)
        ]
        # The engine would stream again.
        again = {"model": "base", "input": results, "previous_response_id": called["id"]}
        http.post(PATH, json=again)
        roles = [message["role"] for message in engine.bodies[-1]["messages"]]
        assert roles == ["user", "assistant", "tool", "tool"]
        assert engine.bodies[-1]["messages"][1]["reasoning_content"] == "Hm"

    def test_without_new_input(self, http: httpx.Client, engine: FakeEngine) -> None:
        first = ask(http)
        ask(http, input=None, previous_response_id=first["id"])
        assert contents(engine) == ["hello", "Hello"]

    def test_unknown_ones(
        self, openai: OpenAI, http: httpx.Client, other_tenant: httpx.Client
    ) -> None:
        foreign = ask(other_tenant)["id"]
        for unknown in ("resp_unknown", foreign):
            with pytest.raises(BadRequestError) as raised:
                openai.responses.create(model="base", input="b", previous_response_id=unknown)
            assert raised.value.code == "previous_response_not_found"
            assert raised.value.param == "previous_response_id"
            assert f"Previous response with id '{unknown}' not found." in raised.value.message
            assert http.get(f"{PATH}/{unknown}").status_code == 404

    def test_a_gap_is_an_error(self, http: httpx.Client) -> None:
        """An answer without what was deleted would not be what was asked."""
        first = ask(http)
        second = ask(http, previous_response_id=first["id"])
        http.delete(f"{PATH}/{first['id']}")
        body = {"model": "base", "input": "c", "previous_response_id": second["id"]}
        error = expect_error(http.post(PATH, json=body), 400)
        assert error["code"] == "previous_response_not_found"
        assert first["id"] in error["message"]

    def test_a_chain_is_bounded(self, http: httpx.Client, api: Api) -> None:
        previous: dict[str, Any] = {}
        limit = api.state.settings.max_body_bytes
        third = {"model": "base", "input": "x" * (limit // 3 + 1)}
        for _ in range(2):
            previous = {"previous_response_id": ask(http, **third, **previous)["id"]}
        error = expect_error(http.post(PATH, json=third | previous), 400)
        assert error["code"] == "context_length_exceeded"
        items = [{"role": "user", "content": ""}] * MAX_ITEMS
        first = ask(http, input=items)["id"]
        body = {"model": "base", "input": "c", "previous_response_id": first}
        assert (
            f"has {MAX_ITEMS + 2} items" in expect_error(http.post(PATH, json=body), 400)["message"]
        )


class TestReferences:
    def test_to_items_of_responses(self, http: httpx.Client, engine: FakeEngine) -> None:
        first = ask(http)
        (item,) = http.get(f"{PATH}/{first['id']}/input_items").json()["data"]
        references = [
            {"type": "item_reference", "id": item["id"]},
            {"id": first["output"][0]["id"]},
            {"role": "user", "content": "b"},
        ]
        ask(http, input=references)
        assert contents(engine) == ["hello", "Hello", "b"]

    @pytest.mark.parametrize("store", [True, False])
    def test_each_counts(
        self, http: httpx.Client, api: Api, engine: FakeEngine, store: bool
    ) -> None:
        """A few bytes of references would become as many copies of the item."""
        limit = api.state.settings.max_body_bytes
        first = ask(http, input="x" * (limit // 10))
        (item,) = http.get(f"{PATH}/{first['id']}/input_items").json()["data"]
        ask(http, input=[{"id": item["id"]}] * 9, store=store)
        num_requests = len(engine.bodies)
        body = {"model": "base", "input": [{"id": item["id"]}] * 11, "store": store}
        error = expect_error(http.post(PATH, json=body), 400)
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
        assert f"at most {limit} are read" in error["message"]
        assert len(engine.bodies) == num_requests

    def test_unknown_ones(self, http: httpx.Client, other_tenant: httpx.Client) -> None:
        theirs = ask(other_tenant)["output"][0]["id"]
        not_stored = ask(http, store=False)["output"][0]["id"]
        for id in ("msg_1", theirs, not_stored):
            response = http.post(PATH, json={"model": "base", "input": [{"id": id}]})
            assert f"Item with id '{id}' not found" in expect_error(response, 400)["message"]


class TestConversations:
    def test_it_is_continued(self, openai: OpenAI, engine: FakeEngine) -> None:
        conversation = openai.conversations.create(
            items=[{"type": "message", "role": "user", "content": "a"}]
        )
        first = openai.responses.create(model="base", input="b", conversation=conversation.id)
        assert first.conversation is not None
        assert first.conversation.id == conversation.id
        with openai.responses.stream(
            model="base", input="c", conversation={"id": conversation.id}, store=False
        ) as events:
            events.get_final_response()
        assert contents(engine) == ["a", "b", "Hello", "c"]
        items: list[Any] = list(openai.conversations.items.list(conversation.id, order="asc"))
        texts = [item.content[0].text for item in items]
        assert texts == ["a", "b", "Hello", "c", "Hello"]

    @pytest.mark.parametrize("is_stored", [True, False])
    @pytest.mark.parametrize("is_stream", [True, False])
    def test_a_retried_request_adds_its_items_once(
        self, http: httpx.Client, engine: FakeEngine, is_stored: bool, is_stream: bool
    ) -> None:
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = {
            "model": "base",
            "input": "a",
            "conversation": conversation,
            "store": is_stored,
            "stream": is_stream,
        }
        key = {"Idempotency-Key": "k"}
        first = http.post(PATH, json=body, headers=key)
        again = http.post(PATH, json=body, headers=key | {"x-stainless-retry-count": "1"})
        assert again.headers["Idempotent-Replayed"] == "true"
        if is_stream:
            events = [read_events(answer) for answer in (first, again)]
            assert events[0][-1] | {"sequence_number": 0} == events[1][-1] | {"sequence_number": 0}
            assert kinds(events[0]) == kinds(events[1])
        else:
            assert again.json() == first.json()
        assert len(engine.bodies) == 1, "the model was asked again"
        assert list_texts(http, conversation) == ["a", "Hello"]

        assert http.post(PATH, json=body).is_success
        assert list_texts(http, conversation) == ["a", "Hello"] * 2, "this is a new request"

    @pytest.mark.parametrize("is_stored", [True, False])
    def test_an_answer_with_a_nul_is_replayed(
        self, http: httpx.Client, engine: FakeEngine, is_stored: bool
    ) -> None:
        """Postgres refuses this character in texts and in JSONB."""
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = {
            "model": "base",
            "input": parts({"delta": {"content": "a\0b"}}, {"finish_reason": "stop"}),
            "conversation": conversation,
            "store": is_stored,
            "stream": True,
        }
        key = {"Idempotency-Key": "k"}
        first, again = (http.post(PATH, json=body, headers=key) for _ in range(2))
        last, replayed = (read_events(answer)[-1] for answer in (first, again))
        assert last["type"] == "response.completed"
        assert last["response"]["output"][0]["content"][0]["text"] == "a\0b"
        assert again.headers["Idempotent-Replayed"] == "true"
        assert replayed["response"] == last["response"]
        assert list_texts(http, conversation)[1:] == ["a\0b"]

    def test_an_equal_turn_is_answered_when_its_first_attempt_was_lost(
        self, http: httpx.Client, engine: FakeEngine
    ) -> None:
        """The SDK's second attempt is the first to arrive; it must not get the turn before."""
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = {"model": "base", "input": "continue", "conversation": conversation}
        first = http.post(PATH, json=body)
        second = http.post(PATH, json=body, headers={"x-stainless-retry-count": "1"})
        assert "Idempotent-Replayed" not in second.headers
        assert second.json()["id"] != first.json()["id"]
        assert contents(engine) == ["continue", "Hello", "continue"]
        assert list_texts(http, conversation) == ["continue", "Hello"] * 2

    def test_attempts_at_the_same_time_add_their_items_once(
        self, http: httpx.Client, api: Api, engine: FakeEngine
    ) -> None:
        """The first is answered while the second waits for its model."""
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = {"model": "base", "input": "a", "conversation": conversation}
        key = {"Idempotency-Key": "k"}
        answers: list[httpx.Response] = []
        prepare = preparation.prepare

        async def answer_another_first(*arguments: Any) -> Any:
            patch.setattr(preparation, "prepare", prepare)
            send = partial(http.post, PATH, json=body, headers=key)
            answers.append(await to_thread.run_sync(send))
            return await prepare(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preparation, "prepare", answer_another_first)
            late = http.post(PATH, json=body, headers=key)
        assert answers[0].is_success
        error = expect_error(late, 503)
        assert "An earlier attempt of this request was answered" in error["message"]
        assert list_texts(http, conversation) == ["a", "Hello"]
        assert http.post(PATH, json=body, headers=key).json() == answers[0].json()

    def test_a_failed_request_can_be_tried_again(
        self, http: httpx.Client, engine: FakeEngine
    ) -> None:
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = {"model": "base", "input": "answer 500 oops", "conversation": conversation}
        key = {"Idempotency-Key": "k"}
        for _ in range(2):
            assert http.post(PATH, json=body, headers=key).status_code >= 500
        assert len(engine.bodies) == 2
        assert list_texts(http, conversation) == []

    def test_what_it_has_counts(self, http: httpx.Client, api: Api) -> None:
        half = "x" * (api.state.settings.max_body_bytes // 2)
        items = [{"type": "message", "role": "user", "content": half}]
        conversation = http.post("/v1/conversations", json={"items": items}).json()["id"]
        earlier = ask(http, input=half)["id"]
        for more in ({"conversation": conversation}, {"previous_response_id": earlier}):
            body = {"model": "base", "input": half, "store": False} | more
            error = expect_error(http.post(PATH, json=body), 400)
            assert error["code"] == "context_length_exceeded"

    def test_errors(self, http: httpx.Client, other_tenant: httpx.Client) -> None:
        theirs = other_tenant.post("/v1/conversations", json={}).json()["id"]
        for unknown in ("conv_unknown", theirs):
            body = {"model": "base", "input": "b", "conversation": unknown}
            error = expect_error(http.post(PATH, json=body), 404)
            assert error["param"] == "conversation"
        both = {"model": "base", "conversation": theirs, "previous_response_id": "resp_1"}
        error = expect_error(http.post(PATH, json=both), 400)
        assert error["code"] == "mutually_exclusive_parameters"
        number = {"model": "base", "input": "b", "conversation": 3}
        assert expect_error(http.post(PATH, json=number), 400)["param"] == "conversation"


class TestInputTokens:
    def test_what_the_engine_counts(self, openai: OpenAI, engine: FakeEngine) -> None:
        first = openai.responses.create(model="base", input="a")
        counted = openai.responses.input_tokens.count(
            model="base", input="b", previous_response_id=first.id, instructions="Be brief."
        )
        assert (counted.object, counted.input_tokens) == ("response.input_tokens", 1)
        assert contents(engine) == ["Be brief.", "a", "Hello", "b"]
        assert engine.bodies[-1]["max_completion_tokens"] == 1

    def test_errors(self, http: httpx.Client) -> None:
        url = f"{PATH}/input_tokens"
        too_long = http.post(url, json={"model": "base", "input": "too long"})
        assert expect_error(too_long, 400)["param"] == "input"
        assert expect_error(http.post(url, json={"input": "a"}), 400)["param"] == "model"
        tools = [{"type": "mcp"}]
        hosted = http.post(url, json={"model": "base", "input": "a", "tools": tools})
        assert expect_error(hosted, 400)["param"] == "tools[0]"


class TestRoom:
    def test_bytes_count_as_the_projects(
        self, http: httpx.Client, session: Session, account: Account
    ) -> None:
        project_id = account.principal.project_id
        response = ask(http, input="x" * 1000)
        used = quota.get_usage(session, project_id).bytes
        assert used == session.scalar(select(StoredResponse.bytes))
        assert used > 1000
        quota.recount(session)
        assert quota.get_usage(session, project_id).bytes == used
        http.delete(f"{PATH}/{response['id']}")
        session.commit()
        assert quota.get_usage(session, project_id).bytes == 0

    def test_no_room(self, http: httpx.Client, session: Session, account: Account) -> None:
        quota.set_limits(session, account.principal.project_id, max_bytes=100)
        session.commit()
        error = expect_error(http.post(PATH, json={"model": "base", "input": "hello"}), 400)
        assert (error["code"], error["param"]) == ("storage_quota_exceeded", "store")
        assert "'store': false" in error["message"]
        ask(http, store=False)

    def test_old_ones_are_deleted(self, http: httpx.Client, api: Api, session: Session) -> None:
        old, new = ask(http)["id"], ask(http)["id"]
        session.get_one(StoredResponse, old).created_at -= timedelta(days=31)
        session.commit()
        sweep(api.state.sessions, RetentionPolicy())
        statuses = [http.get(f"{PATH}/{each}").status_code for each in (old, new)]
        assert statuses == [404, 200]

    def test_those_of_archived_projects_are_deleted(
        self, http: httpx.Client, api: Api, session: Session, account: Account
    ) -> None:
        ask(http)
        project = session.get_one(Project, account.principal.project_id)
        project.archived_at = func.clock_timestamp() - timedelta(days=2)
        session.commit()
        sweep(api.state.sessions, RetentionPolicy(archived_project_days=1))
        assert session.scalar(select(func.count()).select_from(StoredResponse)) == 0


def test_storage_is_turned_off(api: Api, account: Account, engine: FakeEngine) -> None:
    """As with OpenAI's zero data retention: the answer says that it was not stored.

    Who asks for storage in so many words does not get an answer that is not stored.
    """
    settings = api.state.settings.model_copy(update={"stored_completions": False})
    headers = {"authorization": f"Bearer {account.secret}"}
    with TestClient(create_app(Settings.model_validate(settings)), headers=headers) as client:
        body = {"model": "base", "input": "hello"}
        response = client.post(PATH, json=body).json()
        assert not response["store"]
        asked = client.post(PATH, json=body | {"store": True})
        error = expect_error(asked, 400)
        assert error["param"] == "store"
        assert "LUTHIER_STORED_COMPLETIONS" in str(error["message"])
        assert client.get(f"{PATH}/{response['id']}").status_code == 404
        refused = client.post(PATH, json=body | {"previous_response_id": response["id"]})
        assert refused.status_code == 400
        assert "turned off storing" in refused.json()["error"]["message"]
