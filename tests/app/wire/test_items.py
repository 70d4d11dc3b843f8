"""Items of responses and conversations: each form that clients send, and errors that name it."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.wire.items import MAX_ITEMS, ItemDict, ItemList, ItemReference, to_wire
from app.wire.validation_errors import to_invalid_request


class Body(BaseModel):
    input: ItemList


def parse(*items: Any) -> list[Any]:
    return Body.model_validate({"input": list(items)}).input


def wire(item: Any) -> ItemDict:
    return to_wire(parse(item)[0], "new_id")


def error_of(*items: Any) -> str:
    body = {"input": list(items)}
    with pytest.raises(ValidationError) as raised:
        Body.model_validate(body)
    return str(to_invalid_request(raised.value.errors(include_url=False), body=body))


@pytest.mark.parametrize("more", [{}, {"type": "message"}])
@pytest.mark.parametrize("content", ["Hi", [{"type": "input_text", "text": "Hi"}]])
def test_a_message_in_each_form(more: dict[str, Any], content: Any) -> None:
    assert wire({"role": "user", "content": content} | more) == {
        "id": "new_id",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hi"}],
    }


def test_an_answer_that_is_sent_back_keeps_its_id() -> None:
    part = {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    assert wire(answer | {"content": [part], "phase": None}) == answer | {"content": [part]}
    text = wire({"role": "assistant", "content": "Hi"})
    assert text["content"] == [part]
    refusal = {"type": "refusal", "refusal": "No."}
    assert wire({"role": "assistant", "content": [refusal]})["content"] == [refusal]


def test_calls_and_their_results() -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"}
    assert wire(call) == call | {"id": "new_id", "status": "completed"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "4"}
    assert wire(result) == result | {"id": "new_id", "status": "completed"}
    parts = [{"type": "input_text", "text": "4"}]
    assert wire(result | {"output": parts})["output"] == "4"
    assert wire(result | {"output": parts * 2})["output"] == parts * 2


def test_reasoning() -> None:
    """That of other servers has no text, or is encrypted."""
    text = {"type": "reasoning_text", "text": "Hm"}
    sent = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [text]}
    assert wire(sent) == sent
    encrypted = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    assert wire(encrypted)["content"] == []


def test_references() -> None:
    for item in ({"id": "msg_1"}, {"id": "msg_1", "type": "item_reference"}):
        (reference,) = parse(item)
        assert isinstance(reference, ItemReference)
    with pytest.raises(ValueError, match="reference"):
        to_wire(reference, "new_id")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"type": "web_search_call", "id": "ws_1"}, "'input[0]': items of type 'web_search_call'"),
        ({"type": 3}, "'input[0]': items of type 'None'"),
        ("Hi", "'input[0]': expected an object"),
        ({"role": "user", "content": 3}, "'input[0].content': expected a text or a list of parts"),
        ({"role": "tool", "content": "3"}, "'input[0].role'"),
        ({"role": "user", "content": "Hi", "top": 1}, "Unknown parameter: 'input[0].top'"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "http://a"}]},
            "'input[0].content[0]': this model reads text only, not parts of type 'input_image'",
        ),
        ({"role": "user", "content": [{"type": "input_text"}]}, "'input[0].content[0].text'"),
        (
            {"type": "function_call", "call_id": "c", "name": "a b", "arguments": "{}"},
            "'input[0].name'",
        ),
        ({"type": "function_call_output", "output": ""}, "'input[0].call_id'"),
        ({"type": "function_call_output", "call_id": "c" * 129, "output": ""}, "128 character"),
    ],
)
def test_errors_name_the_place(item: Any, message: str) -> None:
    assert message in error_of(item)


def test_no_more_items_than_a_chat_has_messages() -> None:
    item = {"role": "user", "content": "Hi"}
    assert len(parse(*[item] * MAX_ITEMS)) == MAX_ITEMS
    assert f"at most {MAX_ITEMS} item(s)" in error_of(*[item] * (MAX_ITEMS + 1))
