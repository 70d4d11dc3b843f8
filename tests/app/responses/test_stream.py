"""/v1/responses, streams: the events in OpenAI's order, and what breaks a stream."""

import json
from itertools import groupby
from typing import Any

import httpx
import pytest
from openai import OpenAI
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import TokenUsage
from tests.app.responses.test_create import ADD, PATH
from tests.live_api import Account, Api
from tests.live_server import FakeEngine
from tests.polling import wait_until

END = {"finish_reason": "stop"}
CALL_PARTS: list[dict[str, Any]] = [
    {"delta": {"role": "assistant", "reasoning_content": "H"}},
    {"delta": {"reasoning_content": "m"}},
    {"delta": {"content": "I add."}},
    {
        "delta": {
            "tool_calls": [
                {"index": 0, "id": "call_1", "function": {"name": "add", "arguments": ""}}
            ]
        }
    },
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}},
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}},
    {
        "delta": {
            "tool_calls": [
                {"index": 1, "id": "call_2", "function": {"name": "add", "arguments": "{}"}}
            ]
        }
    },
    {"finish_reason": "tool_calls"},
]
TEXT_EVENTS = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]


def parts(*given: dict[str, Any]) -> list[dict[str, Any]]:
    """An input that the fake engine streams these parts for."""
    return [{"role": "user", "content": f"stream {json.dumps(given)}"}]


def stream(http: httpx.Client, asked: Any, **more: Any) -> list[dict[str, Any]]:
    """The events of a stream."""
    body = {"model": "base", "input": asked, "stream": True} | more
    return read_events(http.post(PATH, json=body))


def read_events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of an answer, without the lines of their names, which are compared."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """The types of events, those that repeat once."""
    return [kind for kind, _ in groupby(each["type"].removeprefix("response.") for each in events)]


@pytest.fixture(autouse=True)
def _engine(engine: FakeEngine) -> None:
    """Every test has a fresh engine."""


class TestOrder:
    def test_text(self, http: httpx.Client) -> None:
        events = stream(http, "hello")
        assert kinds(events) == ["created", "in_progress", *TEXT_EVENTS, "completed"]
        created, last = events[0]["response"], events[-1]["response"]
        assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
        assert last["usage"]["total_tokens"] == 2
        item_id = last["output"][0]["id"]
        deltas = [each for each in events if each["type"] == "response.output_text.delta"]
        assert deltas[0] == {
            "type": "response.output_text.delta",
            "item_id": item_id,
            "output_index": 0,
            "content_index": 0,
            "delta": "Hel",
            "logprobs": [],
            "sequence_number": 4,
        }
        assert "".join(each["delta"] for each in deltas) == "Hello"
        added = events[2]["item"]
        assert (added["id"], added["status"], added["content"]) == (item_id, "in_progress", [])
        assert events[3]["part"]["text"] == ""
        done = events[-2]["item"]
        assert done == last["output"][0]
        assert (done["status"], done["content"][0]["text"]) == ("completed", "Hello")

    def test_reasoning_and_calls(self, http: httpx.Client) -> None:
        events = stream(http, parts(*CALL_PARTS), tools=[ADD])
        reasoning = [each.replace("output_text", "reasoning_text") for each in TEXT_EVENTS]
        call = ["function_call_arguments.delta", "function_call_arguments.done"]
        one_call = ["output_item.added", *call, "output_item.done"]
        assert kinds(events) == [
            *("created", "in_progress", *reasoning, *TEXT_EVENTS, *one_call, *one_call),
            "completed",
        ]
        output = events[-1]["response"]["output"]
        assert [item["type"] for item in output] == [
            *("reasoning", "message", "function_call", "function_call")
        ]
        assert output[0]["content"][0]["text"] == "Hm"
        assert [item["arguments"] for item in output[2:]] == ['{"a":1}', "{}"]
        assert [item["call_id"] for item in output[2:]] == ["call_1", "call_2"]
        done = [each["item"] for each in events if each["type"].endswith("item.done")]
        assert done == output
        indexes = [each["output_index"] for each in events if "output_index" in each]
        assert sorted(indexes) == indexes

    def test_a_refusal(self, http: httpx.Client) -> None:
        events = stream(http, parts({"delta": {"refusal": "No."}}, END))
        refusal = [each.replace("output_text", "refusal") for each in TEXT_EVENTS]
        assert kinds(events) == ["created", "in_progress", *refusal, "completed"]
        content = events[-1]["response"]["output"][0]["content"]
        assert content == [{"type": "refusal", "refusal": "No."}]

    def test_no_text_at_all(self, http: httpx.Client) -> None:
        events = stream(http, parts(END))
        expected = [each for each in TEXT_EVENTS if not each.endswith("delta")]
        assert kinds(events) == ["created", "in_progress", *expected, "completed"]

    def test_incomplete(self, http: httpx.Client) -> None:
        events = stream(http, parts({"delta": {"content": "I a"}}, {"finish_reason": "length"}))
        last = events[-1]
        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
        assert last["response"]["output"][0]["status"] == "incomplete"

    def test_logprobs(self, http: httpx.Client) -> None:
        entry = {"token": "I", "logprob": -0.1, "bytes": [73], "top_logprobs": []}
        part = {"delta": {"content": "I"}, "logprobs": {"content": [entry], "refusal": None}}
        events = stream(http, parts(part, part, END), top_logprobs=1)
        deltas = [each for each in events if each["type"] == "response.output_text.delta"]
        assert [each["logprobs"] for each in deltas] == [[entry], [entry]]
        (content,) = events[-1]["response"]["output"][0]["content"]
        assert content["logprobs"] == [entry, entry]


class TestOfficialClient:
    def test_text(self, openai: OpenAI) -> None:
        with openai.responses.stream(model="base", input="hello") as events:
            kinds_seen = [event.type for event in events]
            final = events.get_final_response()
        assert kinds_seen[-1] == "response.completed"
        assert final.output_text == "Hello"
        assert final.usage is not None
        assert final.usage.total_tokens == 2

    def test_parsed(self, openai: OpenAI) -> None:
        class Sum(BaseModel):
            total: int

        asked: Any = parts({"delta": {"content": '{"total"'}}, {"delta": {"content": ": 3}"}}, END)
        with openai.responses.stream(model="base", input=asked, text_format=Sum) as events:
            assert events.get_final_response().output_parsed == Sum(total=3)

    def test_calls(self, openai: OpenAI) -> None:
        asked: Any = parts(*CALL_PARTS)
        tools: Any = [ADD]
        with openai.responses.stream(model="base", input=asked, tools=tools) as events:
            snapshots = [
                event.snapshot
                for event in events
                if event.type == "response.function_call_arguments.delta"
            ]
            final = events.get_final_response()
        assert snapshots == ['{"a":', '{"a":1}', "{}"]
        assert [item.type for item in final.output][2:] == ["function_call", "function_call"]


class TestFailures:
    @pytest.mark.parametrize(
        "asked",
        [
            "die",
            parts({"delta": {"content": "Hel"}}),
            parts({"delta": {"content": "Hel"}}, {"delta": None}),
            parts({"delta": {"content": "Hel"}}, {"delta": {"tool_calls": [{"index": 0}]}}),
        ],
        ids=["lost", "no end", "nonsense", "no call"],
    )
    def test_a_broken_stream(self, http: httpx.Client, asked: Any) -> None:
        last = stream(http, asked)[-1]
        assert last["type"] == "response.failed"
        response = last["response"]
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        (item,) = response["output"]
        assert item["status"] == "incomplete"
        assert item["content"][0]["text"].startswith("Hel")

    def test_errors_before_the_first_event_are_no_stream(self, http: httpx.Client) -> None:
        response = http.post(PATH, json={"model": "base", "input": "too long", "stream": True})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "input"

    def test_events_are_sent_at_once(self, http: httpx.Client, engine: FakeEngine) -> None:
        """The engine never ends this stream; to leave it aborts the engine's request."""
        body = {"model": "base", "input": "forever", "stream": True}
        with http.stream("POST", PATH, json=body) as response:
            lines = response.iter_lines()
            assert next(line for line in lines if "output_text.delta" in line)
        assert engine.aborted.wait(60)


def test_usage_is_counted_as_a_chats(
    http: httpx.Client, api: Api, account: Account, session: Session
) -> None:
    stream(http, "hello")
    http.post(PATH, json={"model": "base", "input": "hello"})
    of_project = TokenUsage.project_id == account.principal.project_id

    def count() -> tuple[int, int]:
        api.recorder.flush()
        session.rollback()
        rows = session.scalars(select(TokenUsage).where(of_project)).all()
        return sum(row.requests for row in rows), sum(row.output_tokens for row in rows)

    wait_until("both are counted", lambda: count() == (2, 2))
