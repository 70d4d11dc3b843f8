"""Stored chat completions, by the official client, over a fake engine."""

import json
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from openai import BadRequestError, NotFoundError, OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import Project, StoredCompletion
from app.files import quota
from app.main import create_app
from app.operations.retention import RetentionPolicy, sweep
from app.settings import Settings
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

PATH = "/v1/chat/completions"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]


def answer(completion_id: str, *, content: str = "Hi") -> list[dict[str, Any]]:
    """Messages that the fake engine answers with a completion of this id."""
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    body = {"id": completion_id, "object": "chat.completion", "created": 1, "model": "base"}
    return [{"role": "user", "content": f"answer 200 {json.dumps(body | {'choices': [choice]})}"}]


def store(openai: OpenAI, completion_id: str, **more: Any) -> None:
    messages: Any = answer(completion_id)
    openai.chat.completions.create(model="base", messages=messages, store=True, **more)


@pytest.fixture(autouse=True)
def _engine(engine: FakeEngine) -> None:
    """Every test has a fresh engine."""


class TestLifeOfACompletion:
    def test_get_update_delete(self, openai: OpenAI) -> None:
        store(openai, "chatcmpl-a", metadata={"k": "v"})
        stored = openai.chat.completions.retrieve("chatcmpl-a")
        assert (stored.choices[0].message.content, stored.metadata) == ("Hi", {"k": "v"})
        assert openai.chat.completions.update("chatcmpl-a", metadata={"x": "y"}).metadata == {
            "x": "y"
        }
        assert openai.chat.completions.retrieve("chatcmpl-a").metadata == {"x": "y"}
        assert openai.chat.completions.delete("chatcmpl-a").deleted
        with pytest.raises(NotFoundError, match="chatcmpl-a"):
            openai.chat.completions.retrieve("chatcmpl-a")
        with pytest.raises(NotFoundError):
            openai.chat.completions.delete("chatcmpl-a")

    def test_nothing_is_stored_unless_asked(self, openai: OpenAI, session: Session) -> None:
        openai.chat.completions.create(model="base", messages=HELLO)  # type: ignore[arg-type]
        assert list(openai.chat.completions.list()) == []

    def test_the_engine_is_not_told(self, openai: OpenAI, engine: FakeEngine) -> None:
        store(openai, "chatcmpl-a", metadata={"k": "v"})
        assert not {"store", "metadata"} & engine.bodies[0].keys()

    def test_errors_are_not_stored(self, http: httpx.Client, openai: OpenAI) -> None:
        messages = [{"role": "user", "content": "too long"}]
        response = http.post(PATH, json={"model": "base", "messages": messages, "store": True})
        assert response.status_code == 400
        assert list(openai.chat.completions.list()) == []

    def test_a_stream_is_stored_whole(self, openai: OpenAI) -> None:
        with openai.chat.completions.create(
            model="gpt-4o-mini",
            messages=HELLO,  # type: ignore[arg-type]
            store=True,
            stream=True,
        ) as stream:
            chunks = list(stream)
        stored = openai.chat.completions.retrieve(chunks[0].id)
        assert stored.object == "chat.completion"
        assert stored.choices[0].message.content == "Hello"
        assert stored.choices[0].finish_reason == "stop"

    def test_a_broken_stream_is_not_stored(self, http: httpx.Client, openai: OpenAI) -> None:
        body = {"model": "base", "messages": [{"role": "user", "content": "die"}]}
        http.post(PATH, json=body | {"store": True, "stream": True})
        assert list(openai.chat.completions.list()) == []

    def test_messages(self, http: httpx.Client) -> None:
        """Not by the SDK, whose type knows no other role than the assistant's."""
        parts = [{"type": "text", "text": "Be brief."}]
        # One that was stored before and is sent again has an id.
        again = [{**message, "id": "chatcmpl-b-0"} for message in HELLO]
        messages = [*answer("chatcmpl-a"), {"role": "system", "content": parts}, *again]
        http.post(PATH, json={"model": "base", "messages": messages, "store": True})
        url = f"{PATH}/chatcmpl-a/messages"
        first = http.get(f"{url}?limit=2").json()
        assert first["has_more"]
        ids = [f"chatcmpl-a-{number}" for number in range(3)]
        assert [message["id"] for message in first["data"]] == ids[:2]
        assert (first["first_id"], first["last_id"]) == (ids[0], ids[1])
        assert first["data"][1]["content"] is None
        assert first["data"][1]["content_parts"] == parts
        second = http.get(f"{url}?after={ids[1]}").json()
        assert not second["has_more"]
        assert [(each["role"], each["content"]) for each in second["data"]] == [("user", "hello")]
        newest = http.get(f"{url}?order=desc").json()["data"]
        assert [message["id"] for message in newest] == ids[::-1]

    def test_the_same_id_again_replaces(self, openai: OpenAI) -> None:
        """Some engines count their answers from 1 after a restart."""
        store(openai, "chatcmpl-a", metadata={"n": "1"})
        store(openai, "chatcmpl-a", metadata={"n": "2"})
        (stored,) = openai.chat.completions.list()
        assert stored.metadata == {"n": "2"}


class TestList:
    def test_pages_filters_and_order(self, openai: OpenAI) -> None:
        for number in range(5):
            store(openai, f"chatcmpl-{number}", metadata={"odd": str(number % 2), "all": ""})
        completions = openai.chat.completions
        ids = [f"chatcmpl-{number}" for number in range(5)]
        assert [each.id for each in completions.list(limit=2)] == ids, "over several pages"
        assert [each.id for each in completions.list(order="desc")] == ids[::-1]
        odd = completions.list(metadata={"odd": "1", "all": ""})
        assert [each.id for each in odd] == ids[1::2]
        assert list(completions.list(metadata={"odd": "2"})) == []
        assert len(list(completions.list(model="gpt-4o-mini"))) == 5, "an alias of the model"
        assert list(completions.list(model="other")) == []
        assert list(completions.list(after="chatcmpl-unknown")) == []

    def test_a_page_ends_after_a_mebibyte(self, http: httpx.Client, openai: OpenAI) -> None:
        for number in range(3):
            messages = [*answer(f"chatcmpl-{number}"), {"role": "user", "content": "x" * 700_000}]
            body = {"model": "base", "messages": messages, "store": True}
            assert http.post(PATH, json=body).status_code == 200
        page = http.get(PATH).json()
        assert (len(page["data"]), page["has_more"]) == (1, True)
        assert len(list(openai.chat.completions.list())) == 3

    @pytest.mark.parametrize(
        "query", ["limit=-1", "limit=101", "order=up", "metadata[a]=1&metadata"]
    )
    def test_invalid_queries(self, http: httpx.Client, query: str) -> None:
        expect_error(http.get(f"{PATH}?{query}"), 400)


class TestTenancyAndQuota:
    def test_another_project_sees_nothing(self, openai: OpenAI, other_tenant: httpx.Client) -> None:
        store(openai, "chatcmpl-a")
        assert other_tenant.get(PATH).json()["data"] == []
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", ""),
            ("GET", "/messages"),
        ):
            body = {"metadata": {}} if method == "POST" else None
            response = other_tenant.request(method, f"{PATH}/chatcmpl-a{path}", json=body)
            expect_error(response, 404)
        assert openai.chat.completions.retrieve("chatcmpl-a").id == "chatcmpl-a"

    def test_bytes_count_until_deleted(
        self, openai: OpenAI, account: Account, session: Session
    ) -> None:
        project_id = account.principal.project_id
        store(openai, "chatcmpl-a")
        openai.chat.completions.retrieve("chatcmpl-a")
        row = session.scalars(select(StoredCompletion)).one()
        assert quota.get_usage(session, project_id).bytes == row.bytes > 100
        quota.recount(session)
        assert quota.get_usage(session, project_id).bytes == row.bytes, "recounted alike"
        session.commit()
        openai.chat.completions.delete("chatcmpl-a")
        assert quota.get_usage(session, project_id).bytes == 0

    def test_a_full_project(self, openai: OpenAI, account: Account, session: Session) -> None:
        session.get_one(Project, account.principal.project_id).max_storage_bytes = 10
        session.commit()
        with pytest.raises(BadRequestError, match="cannot be stored") as error:
            store(openai, "chatcmpl-a")
        assert error.value.code == "storage_quota_exceeded"


class TestRetention:
    def test_old_completions_are_deleted(self, openai: OpenAI, session: Session, api: Api) -> None:
        for name in ("old", "new"):
            store(openai, f"chatcmpl-{name}")
        openai.chat.completions.list()
        old = select(StoredCompletion).where(StoredCompletion.id == "chatcmpl-old")
        row = session.scalars(old).one()
        row.created_at = session.scalar(select(func.now() - func.make_interval(0, 0, 0, 31)))
        session.commit()
        sweep(api.state.sessions, RetentionPolicy(stored_completion_days=0))
        assert len(list(openai.chat.completions.list())) == 2, "0 keeps them forever"
        sweep(api.state.sessions, RetentionPolicy())
        assert [each.id for each in openai.chat.completions.list()] == ["chatcmpl-new"]


class TestRefusals:
    def test_metadata_without_store(self, http: httpx.Client) -> None:
        body = {"model": "base", "messages": HELLO, "metadata": {"a": "b"}}
        error = expect_error(http.post(PATH, json=body), 400)
        assert error["param"] == "metadata"
        assert "only allowed when 'store' is enabled" in str(error["message"])

    def test_switched_off(self, settings: Settings, account: Account) -> None:
        off = settings.model_copy(update={"stored_completions": False})
        headers = {"Authorization": f"Bearer {account.secret}"}
        with TestClient(create_app(off), headers=headers) as http:
            body = {"model": "smollm2-135m-instruct", "messages": HELLO, "store": True}
            error = expect_error(http.post(PATH, json=body), 400)
        assert error["param"] == "store"
        assert "turned off" in str(error["message"])
