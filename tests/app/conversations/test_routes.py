"""Conversations by the official client: their life, items, bounds and tenancy."""

from typing import Any

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.conversations import service
from app.db.tables import Conversation, ConversationItem, Project
from app.files import quota
from app.operations.retention import RetentionPolicy, sweep
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api

PATH = "/v1/conversations"


def say(text: str, **more: Any) -> Any:
    return {"role": "user", "content": text, **more}


def texts_of(items: Any) -> list[str]:
    return [item.content[0].text for item in items]


def test_life_of_a_conversation(openai: OpenAI) -> None:
    created = openai.conversations.create(metadata={"topic": "demo"}, items=[say("Hello")])
    assert created.id.startswith("conv_")
    assert created.object == "conversation"
    assert created.metadata == {"topic": "demo"}
    assert openai.conversations.retrieve(created.id) == created
    updated = openai.conversations.update(created.id, metadata={"topic": "other"})
    assert updated.metadata == {"topic": "other"}
    assert openai.conversations.retrieve(created.id).metadata == {"topic": "other"}
    deleted = openai.conversations.delete(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (
        created.id,
        True,
        "conversation.deleted",
    )
    with pytest.raises(NotFoundError, match=created.id):
        openai.conversations.retrieve(created.id)
    with pytest.raises(NotFoundError):
        openai.conversations.items.list(created.id)


def test_an_empty_body(http: httpx.Client) -> None:
    """Nothing is required of a new conversation."""
    response = http.post(PATH)
    assert response.status_code == 200
    assert response.json()["metadata"] == {}


class TestItems:
    def test_all_kinds(self, openai: OpenAI) -> None:
        conversation = openai.conversations.create()
        call: Any = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
        output: Any = {"type": "function_call_output", "call_id": "c1", "output": "42"}
        answer: Any = {"role": "assistant", "content": "It is 42."}
        created = openai.conversations.items.create(
            conversation.id, items=[say("What?"), call, output, answer]
        )
        assert [item.type for item in created.data] == [
            "message",
            "function_call",
            "function_call_output",
            "message",
        ]
        assert (created.first_id, created.last_id) == (created.data[0].id, created.data[3].id)
        assert not created.has_more
        listed = openai.conversations.items.list(conversation.id, order="asc")
        assert list(listed) == created.data
        for item in created.data:
            found = openai.conversations.items.retrieve(item.id, conversation_id=conversation.id)
            assert found == item
        last: Any = created.data[-1]
        assert (last.content[0].type, last.content[0].text) == ("output_text", "It is 42.")

    def test_pages_and_order(self, openai: OpenAI) -> None:
        conversation = openai.conversations.create(items=[say(str(n)) for n in range(3)])
        openai.conversations.items.create(conversation.id, items=[say("3"), say("4")])
        items = openai.conversations.items
        assert texts_of(items.list(conversation.id, limit=2)) == ["4", "3", "2", "1", "0"]
        oldest = items.list(conversation.id, limit=2, order="asc")
        assert texts_of(oldest.data) == ["0", "1"]
        assert texts_of(oldest) == ["0", "1", "2", "3", "4"]
        assert list(items.list(conversation.id, after="msg_unknown")) == []
        assert texts_of(items.list(conversation.id, include=["reasoning.encrypted_content"]).data)

    def test_a_page_ends_after_many_bytes(
        self, openai: OpenAI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        conversation = openai.conversations.create(items=[say("x" * 600) for _ in range(3)])
        monkeypatch.setattr(service, "MAX_PAGE_BYTES", 1000)
        page = openai.conversations.items.list(conversation.id)
        assert (len(page.data), page.has_more) == (1, True)
        assert len(list(page)) == 3

    def test_deleting_one(self, openai: OpenAI) -> None:
        conversation = openai.conversations.create(items=[say("a"), say("b", id="msg_b")])
        left = openai.conversations.items.delete("msg_b", conversation_id=conversation.id)
        assert left.id == conversation.id
        assert texts_of(openai.conversations.items.list(conversation.id)) == ["a"]
        for call in (openai.conversations.items.delete, openai.conversations.items.retrieve):
            with pytest.raises(NotFoundError, match="msg_b"):
                call("msg_b", conversation_id=conversation.id)
        openai.conversations.items.create(conversation.id, items=[say("c")])
        newest = openai.conversations.items.list(conversation.id, order="asc")
        assert texts_of(newest) == ["a", "c"]

    def test_an_id_twice(self, openai: OpenAI) -> None:
        conversation = openai.conversations.create(items=[say("a", id="msg_a")])
        with pytest.raises(BadRequestError, match="Duplicate item found with id msg_a"):
            openai.conversations.items.create(
                conversation.id, items=[say("b"), say("c", id="msg_a")]
            )
        assert texts_of(openai.conversations.items.list(conversation.id)) == ["a"]
        # Ids are the conversation's own.
        openai.conversations.create(items=[say("a", id="msg_a")])

    @pytest.mark.parametrize(
        ("items", "param"),
        [
            ([], "items"),
            ([say(str(n)) for n in range(21)], "items"),
            ([say("a", id="msg_a/b")], "items[0].id"),
            ([say("a", id="msg_a\n")], "items[0].id"),
            ([say("a", id="m" * 129)], "items[0].id"),
            ([{"type": "item_reference", "id": "msg_a"}], "items[0]"),
            ([{"type": "web_search_call", "id": "ws_1", "status": "completed"}], "items[0]"),
            ([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}], None),
        ],
    )
    def test_invalid_items(self, http: httpx.Client, items: Any, param: str | None) -> None:
        conversation_id = http.post(PATH).json()["id"]
        error = expect_error(
            http.post(f"{PATH}/{conversation_id}/items", json={"items": items}), 400
        )
        if param is not None:
            assert error["param"] == param

    @pytest.mark.parametrize("query", ["limit=-1", "limit=101", "order=up", "include=everything"])
    def test_invalid_queries(self, http: httpx.Client, query: str) -> None:
        conversation_id = http.post(PATH).json()["id"]
        expect_error(http.get(f"{PATH}/{conversation_id}/items?{query}"), 400)


class TestBounds:
    def test_number_of_items(self, openai: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "MAX_ITEMS", 3)
        conversation = openai.conversations.create(items=[say("a"), say("b", id="msg_b")])
        with pytest.raises(BadRequestError, match="at most 3 items, and this one has 2"):
            openai.conversations.items.create(conversation.id, items=[say("c"), say("d")])
        openai.conversations.items.delete("msg_b", conversation_id=conversation.id)
        openai.conversations.items.create(conversation.id, items=[say("c"), say("d")])

    def test_size(self, openai: OpenAI) -> None:
        conversation = openai.conversations.create(items=[say("x" * 600_000)])
        with pytest.raises(BadRequestError, match="at most 1048576 bytes"):
            openai.conversations.items.create(conversation.id, items=[say("x" * 600_000)])

    def test_bytes_count_until_deleted(
        self, openai: OpenAI, session: Session, account: Account
    ) -> None:
        project_id = account.principal.project_id
        conversation = openai.conversations.create(
            items=[say("a"), say("b", id="msg_b")], metadata={"k": "v"}
        )
        openai.conversations.update(conversation.id, metadata={"k": "longer"})
        openai.conversations.items.delete("msg_b", conversation_id=conversation.id)
        row = session.scalars(select(Conversation)).one()
        stored = session.scalar(select(func.sum(ConversationItem.bytes))) or 0
        assert row.bytes == service.ROW_BYTES + len('{"k":"longer"}') + stored
        assert row.items == 1
        assert quota.get_usage(session, project_id).bytes == row.bytes
        quota.recount(session)
        assert quota.get_usage(session, project_id).bytes == row.bytes, "recounted alike"
        session.commit()
        openai.conversations.delete(conversation.id)
        assert quota.get_usage(session, project_id).bytes == 0
        assert session.scalars(select(ConversationItem.id)).all() == []

    def test_a_full_project(self, openai: OpenAI, session: Session, account: Account) -> None:
        session.get_one(Project, account.principal.project_id).max_storage_bytes = 500
        session.commit()
        conversation = openai.conversations.create()
        with pytest.raises(BadRequestError) as error:
            openai.conversations.items.create(conversation.id, items=[say("x" * 500)])
        assert error.value.code == "storage_quota_exceeded"
        assert list(openai.conversations.items.list(conversation.id)) == []


def test_another_project_sees_nothing(openai: OpenAI, other_tenant: httpx.Client) -> None:
    conversation = openai.conversations.create(items=[say("a", id="msg_a")])
    path = f"{PATH}/{conversation.id}"
    for method, url, body in (
        ("GET", path, None),
        ("POST", path, {"metadata": {}}),
        ("DELETE", path, None),
        ("GET", f"{path}/items", None),
        ("POST", f"{path}/items", {"items": [say("x")]}),
        ("GET", f"{path}/items/msg_a", None),
        ("DELETE", f"{path}/items/msg_a", None),
    ):
        expect_error(other_tenant.request(method, url, json=body), 404)
    assert texts_of(openai.conversations.items.list(conversation.id)) == ["a"]


def test_unchanged_ones_are_deleted(openai: OpenAI, session: Session, api: Api) -> None:
    old, new = (openai.conversations.create(items=[say("a")]) for _ in range(2))
    row = session.get_one(Conversation, old.id)
    row.updated_at = session.scalar(select(func.now() - func.make_interval(0, 0, 0, 31)))
    session.commit()
    sweep(api.state.sessions, RetentionPolicy())
    assert openai.conversations.retrieve(old.id), "kept forever by default"
    sweep(api.state.sessions, RetentionPolicy(conversation_days=30))
    assert openai.conversations.retrieve(new.id)
    with pytest.raises(NotFoundError):
        openai.conversations.retrieve(old.id)


def test_the_context_is_in_order(openai: OpenAI, session: Session, account: Account) -> None:
    """As responses read it."""
    created = openai.conversations.create(items=[say("a"), say("b")])
    openai.conversations.items.create(created.id, items=[say("c")])
    row = service.get(session, account.principal.project_id, created.id, lock=True)
    context = service.list_context(session, row)
    assert [item["content"][0]["text"] for item in context] == ["a", "b", "c"]
