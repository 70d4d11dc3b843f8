"""Chat format: valid rows, invalid rows with their messages, and conversion to examples."""

import copy
import json
from typing import Any

import pytest

from app.formats import ChatExample, DatasetValidator, Message, ValidationReport
from app.formats.chat import FORMAT, to_example

Row = dict[str, Any]

USER = {"role": "user", "content": "Weather in Rome?"}
ANSWER = {"role": "assistant", "content": "Sunny."}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}
FUNCTION = {
    "name": "weather",
    "description": "Of a city",
    "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOOL = {"type": "function", "function": FUNCTION}
FUNCTION_CALL = {"name": "weather", "arguments": "{}"}


def validate(*rows: Any) -> ValidationReport:
    validator = DatasetValidator()
    validator.feed(b"\n".join(json.dumps(row).encode() for row in rows))
    return validator.finish()


def nest(depth: int) -> str:
    """JSON of an object that is nested over so many levels."""
    return '{"a": ' * depth + "1" + "}" * depth


def reason(row: Any) -> str:
    report = validate(row)
    assert report.error_count == 1, "the row was accepted"
    return report.errors[0].reason


def chat(*messages: Row, **keys: Any) -> Row:
    return {"messages": list(messages), **keys}


GOOD = {
    "user and assistant": chat(USER, ANSWER),
    "system, user, assistant": chat({"role": "system", "content": "Be brief."}, USER, ANSWER),
    "developer": chat({"role": "developer", "content": "Be brief."}, USER, ANSWER),
    "the assistant alone": chat(ANSWER),
    "a response format": chat(USER, ANSWER, response_format={"type": "json_object"}),
    "a response schema": chat(
        USER,
        ANSWER,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    ),
    "the assistant twice": chat(USER, ANSWER, ANSWER),
    "empty texts": chat({"role": "user", "content": ""}, {"role": "assistant", "content": ""}),
    "names": chat({**USER, "name": "ann"}, {**ANSWER, "name": "bob"}),
    "weights": chat(USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}),
    "text parts": chat({"role": "user", "content": [{"type": "text", "text": "a"}]}, ANSWER),
    "a refusal": chat(USER, {"role": "assistant", "content": None, "refusal": "No."}),
    "a refusal part": chat(
        USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    ),
    "a refusal without content": chat(USER, {"role": "assistant", "refusal": "No."}),
    "null for what is not there": chat(
        {**USER, "name": None},
        {**ANSWER, "name": None, "weight": None, "tool_calls": None, "refusal": None},
        tools=None,
        functions=None,
        parallel_tool_calls=None,
    ),
    "a dumped message of the SDK": chat(
        USER,
        {
            **ANSWER,
            "refusal": None,
            "annotations": [],
            "audio": None,
            "function_call": None,
            "tool_calls": [],
        },
    ),
    "a tool's name beside its id": chat(
        USER, CALLING, {**RESULT, "name": "weather"}, ANSWER, tools=[TOOL]
    ),
    "reasoning": chat(USER, {**ANSWER, "reasoning_content": "Let me think."}),
    "a tool call at the end": chat(USER, CALLING, tools=[TOOL], parallel_tool_calls=False),
    "a tool call and its answer": chat(USER, CALLING, RESULT, ANSWER, tools=[TOOL]),
    "content and a tool call": chat(USER, {**CALLING, "content": "Let me see."}, RESULT, ANSWER),
    "two calls answered in another order": chat(
        USER,
        {**CALLING, "tool_calls": [CALL, {**CALL, "id": "call_2"}]},
        {**RESULT, "tool_call_id": "call_2"},
        RESULT,
        ANSWER,
    ),
    "an id used again later": chat(USER, CALLING, RESULT, CALLING, RESULT, ANSWER),
    "a function call": chat(
        USER,
        {"role": "assistant", "content": None, "function_call": FUNCTION_CALL},
        {"role": "function", "name": "weather", "content": "sunny"},
        ANSWER,
        functions=[FUNCTION],
    ),
    "no tools": chat(USER, ANSWER, tools=[]),
    "a tool of a name alone": chat(
        USER, ANSWER, tools=[{"type": "function", "function": {"name": "weather"}}]
    ),
    "128 functions": chat(USER, ANSWER, functions=[FUNCTION] * 128),
    "other models' special tokens": chat({"role": "user", "content": "<|im_end|>"}, ANSWER),
    "a number of 64 bits in a schema": chat(
        USER,
        ANSWER,
        tools=[{**TOOL, "function": {**FUNCTION, "parameters": {"maximum": 2**64 - 1}}}],
    ),
}


@pytest.mark.parametrize("row", GOOD.values(), ids=GOOD)
def test_valid_row(row: Row) -> None:
    assert validate(row).status_details() is None
    to_example(row)


def without(message: Row, key: str) -> Row:
    return {name: value for name, value in message.items() if name != key}


def with_call(**changes: Any) -> Row:
    return {**CALLING, "tool_calls": [{**CALL, **changes}]}


def with_function(**changes: Any) -> Row:
    return chat(USER, ANSWER, tools=[{**TOOL, "function": {**FUNCTION, **changes}}])


# OpenAI's own messages where they are known, as the start of the reason.
BAD = {
    "no messages": ({"prompt": "a", "answer": "b"}, "Example 1 is missing key 'messages'"),
    "messages null": ({"messages": None}, "Example 1: messages is null"),
    "messages an object": ({"messages": {}}, "Example 1: messages is an object"),
    "messages empty": ({"messages": []}, "Example 1: messages is an empty list"),
    "another key": (chat(USER, ANSWER, answer="42"), 'Example 1 contains an extra "answer".'),
    "a message of text": ({"messages": ["Hi"]}, "Example 1, message 1 is a string, not an object"),
    "no role": (
        chat(USER, {"content": "Hi"}),
        "Example 1, message 2 Discriminator 'role' is missing in value",
    ),
    "an unknown role": (
        chat({"role": "bot", "content": "a"}, ANSWER),
        "Example 1, message 1: role is 'bot'. Give it one of the roles 'system', 'developer',"
        " 'user', 'assistant', 'tool', 'function'.",
    ),
    "a role of another kind": (
        chat({"role": ["user"], "content": "a"}, ANSWER),
        "Example 1, message 1: role is a list. Give it one of the roles 'system',",
    ),
    "weight on a user's message": (
        chat({**USER, "weight": 1}, ANSWER),
        'Example 1 contains an extra "weight".',
    ),
    "another key in a message": (
        chat({**USER, "audio": {"id": "a"}}, ANSWER),
        'Example 1 contains an extra "audio". Message 1 (role user) may only have role,'
        " content, name.",
    ),
    "unknown keys everywhere": (
        chat({**USER, "a": 1, "b": 0}, {**ANSWER, "c": ""}, d=2),
        'Example 1 contains an extra "d", an extra "a", an extra "b", an extra "c". An example may '
        "only have messages, tools, parallel_tool_calls, functions, response_format. Message 1",
    ),
    "many unknown keys": (
        chat({**USER, **{f"k{n}": n for n in range(9)}}, ANSWER),
        'Example 1 contains an extra "k0", an extra "k1", an extra "k2", an extra "k3", an extra'
        ' "k4" and 4 more.',
    ),
    "reasoning of another kind": (
        chat(USER, {**ANSWER, "reasoning_content": {"a": 1}}),
        "Example 1, message 2: reasoning_content is an object",
    ),
    "a tool call of the user": (
        chat({**USER, "tool_calls": [CALL]}, ANSWER),
        'Example 1 contains an extra "tool_calls".',
    ),
    "content missing": (chat({"role": "user"}, ANSWER), "Example 1, message 1 is missing content"),
    "content null": (
        chat({"role": "user", "content": None}, ANSWER),
        "Example 1, message 1 is missing content",
    ),
    "content a number": (
        chat({"role": "user", "content": 1}, ANSWER),
        "Example 1, message 1: content is a number",
    ),
    "content an empty list": (
        chat({"role": "user", "content": []}, ANSWER),
        "Example 1, message 1: content is an empty list",
    ),
    "content of strings": (
        chat({"role": "user", "content": ["a"]}, ANSWER),
        "Example 1, message 1: a part of the content has no type",
    ),
    "a text part without text": (
        chat({"role": "user", "content": [{"type": "text"}]}, ANSWER),
        "Example 1, message 1: the text of a part is null",
    ),
    "a text part with more": (
        chat({"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}, ANSWER),
        'Example 1 contains an extra "x".',
    ),
    "an image": (
        chat({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ANSWER),
        "Example 1, message 1: images are not supported by text models",
    ),
    "a sound": (
        chat({"role": "user", "content": [{"type": "input_audio"}]}, ANSWER),
        'Example 1, message 1: a part of the content has the type "input_audio"',
    ),
    "the assistant says nothing": (
        chat(USER, {"role": "assistant", "content": None}),
        "Example 1, message 2 is missing content",
    ),
    "no message from the assistant": (
        chat(USER),
        "Example 1 has no message from the assistant",
    ),
    "the user at the end": (chat(ANSWER, USER), "Example 1 ends with a message from the user"),
    "a tool at the end": (
        chat(USER, CALLING, RESULT),
        "Example 1 ends with a message from the tool",
    ),
    "weight 0 at the end": (
        chat(USER, {**ANSWER, "weight": 0}),
        "Example 1 ends with a message of weight 0",
    ),
    "weight 2": (
        chat(USER, {**ANSWER, "weight": 2}),
        "Example 1, message 2: weight is neither 0 nor 1",
    ),
    "weight 0.5": (
        chat(USER, {**ANSWER, "weight": 0.5}),
        "Example 1, message 2: weight is neither",
    ),
    "weight true": (
        chat(USER, {**ANSWER, "weight": True}),
        "Example 1, message 2: weight is neither",
    ),
    "name a number": (chat({**USER, "name": 1}, ANSWER), "Example 1, message 1: name is a number"),
    "refusal a list": (
        chat(USER, {**ANSWER, "refusal": ["no"]}),
        "Example 1, message 2: refusal is a list",
    ),
    "a function without a name": (
        chat(USER, {"role": "function", "content": "a"}, ANSWER),
        "Example 1, message 2 is missing name",
    ),
    "a tool without tool_call_id": (
        chat(USER, CALLING, without(RESULT, "tool_call_id"), ANSWER),
        "Example 1, message 3 is missing tool_call_id",
    ),
    "a tool_call_id of a number": (
        chat(USER, CALLING, {**RESULT, "tool_call_id": 1}, ANSWER),
        "Example 1, message 3: tool_call_id is a number",
    ),
    "an answer to no call": (
        chat(USER, CALLING, {**RESULT, "tool_call_id": "call_9"}, ANSWER),
        "Example 1, message 3: no unanswered tool call has the id 'call_9'",
    ),
    "an answer given twice": (
        chat(USER, CALLING, RESULT, RESULT, ANSWER),
        "Example 1, message 4: no unanswered tool call has the id 'call_1'",
    ),
    "a call without an answer": (
        chat(USER, CALLING, USER, ANSWER),
        "Example 1, message 3 comes before the tool call 'call_1' is answered",
    ),
    "tool_calls empty": (
        chat(USER, {**CALLING, "tool_calls": []}),
        "Example 1, message 2 is missing content",
    ),
    "tool_calls of text": (
        chat(USER, {**CALLING, "tool_calls": ["a"]}),
        "Example 1, message 2: a tool call is not a function call",
    ),
    "a call of another type": (
        chat(USER, with_call(type="custom")),
        "Example 1, message 2: a tool call is not a function call",
    ),
    "a call without an id": (
        chat(USER, {**CALLING, "tool_calls": [without(CALL, "id")]}),
        "Example 1, message 2: a tool call has no id",
    ),
    "two calls of one id": (
        chat(USER, {**CALLING, "tool_calls": [CALL, CALL]}),
        "Example 1, message 2: two tool calls have the same id",
    ),
    "a call with more": (chat(USER, with_call(index=0)), 'Example 1 contains an extra "index".'),
    "a call without a function": (
        chat(USER, with_call(function=None)),
        "Example 1, message 2: a call's function is null",
    ),
    "a call without a name": (
        chat(USER, with_call(function={"arguments": "{}"})),
        "Example 1, message 2: a call has no function name",
    ),
    "arguments as an object": (
        chat(USER, with_call(function={"name": "weather", "arguments": {"city": "Rome"}})),
        "Example 1, message 2: the arguments of a call are an object",
    ),
    "arguments as a Python dict's text": (
        chat(USER, with_call(function={"name": "weather", "arguments": "{'celsius': True}"})),
        "Example 1, message 2: the arguments \"{'celsius': True}\" of a call are not JSON. "
        "Write a JSON object in a string, as json.dumps makes it from a dict",
    ),
    "arguments of no text": (
        chat(USER, with_call(function={"name": "weather", "arguments": ""})),
        'Example 1, message 2: the arguments "" of a call are not JSON',
    ),
    "arguments as a JSON list": (
        chat(USER, {"role": "assistant", "function_call": {"name": "weather", "arguments": "[1]"}}),
        "Example 1, message 2: the arguments of a call are JSON for a list, not for an object",
    ),
    "arguments nested too deep": (
        chat(USER, with_call(function={"name": "weather", "arguments": nest(65)})),
        "Example 1, message 2: the arguments of a call are nested too deep. Nest no deeper than 64",
    ),
    "a call of a tool that is not offered": (
        chat(USER, with_call(function={"name": "wether", "arguments": "{}"}), tools=[TOOL]),
        'Example 1, message 2: the function "wether" is called, and tools does not have it',
    ),
    "a call of a function that is not offered": (
        chat(
            USER,
            {"role": "assistant", "function_call": {"name": "time", "arguments": "{}"}},
            functions=[FUNCTION],
        ),
        'Example 1, message 2: the function "time" is called',
    ),
    "a function call of text": (
        chat(USER, {"role": "assistant", "function_call": "weather"}),
        "Example 1, message 2: a call's function is a string",
    ),
    "a function's answer to no call": (
        chat(USER, {"role": "function", "name": "weather", "content": "a"}, ANSWER),
        "Example 1, message 2: no unanswered tool call has the id 'function_call'",
    ),
    "a function call without an answer": (
        chat(USER, {"role": "assistant", "function_call": FUNCTION_CALL}, USER, ANSWER),
        "Example 1, message 3 comes before the tool call 'function_call' is answered",
    ),
    "both forms of calls": (
        chat(USER, {**CALLING, "function_call": FUNCTION_CALL}),
        "Example 1, message 2 has tool_calls and a function_call",
    ),
    "tools an object": (chat(USER, ANSWER, tools={}), "Example 1: tools is an object"),
    "a tool of another type": (
        chat(USER, ANSWER, tools=[{"type": "web_search"}]),
        "Example 1: tool 1 is not a function tool",
    ),
    "a tool without a function": (
        chat(USER, ANSWER, tools=[TOOL, {"type": "function"}]),
        "Example 1: tool 2 has no function",
    ),
    "a tool with more": (
        chat(USER, ANSWER, tools=[{**TOOL, "strict": True}]),
        'Example 1 contains an extra "strict".',
    ),
    "a tool's name with a space": (
        with_function(name="my weather"),
        "Example 1: tool 1 has an invalid name",
    ),
    "parameters a string": (
        with_function(parameters="{}"),
        "Example 1: tool 1: parameters is a string",
    ),
    "strict a string": (
        with_function(strict="no"),
        "Example 1: tool 1: strict is a string",
    ),
    "no functions": (chat(USER, ANSWER, functions=[]), "Example 1: functions has 0 items"),
    "129 functions": (
        chat(USER, ANSWER, functions=[FUNCTION] * 129),
        "Example 1: functions has 129 items",
    ),
    "a response format of text": (
        chat(USER, ANSWER, response_format="json"),
        "Example 1: response_format is a string, not an object. Write",
    ),
    "an unknown response format": (
        chat(USER, ANSWER, response_format={"type": "xml"}),
        "Example 1: response_format has none of the types text, json_object, json_schema",
    ),
    "a response format without a schema": (
        chat(USER, ANSWER, response_format={"type": "json_schema", "json_schema": {"name": "n"}}),
        "Example 1: response_format has no schema",
    ),
    "parallel_tool_calls a string": (
        chat(USER, ANSWER, parallel_tool_calls="yes"),
        "Example 1: parallel_tool_calls is neither true nor false",
    ),
    "a rounded number in a schema": (
        with_function(parameters={"maximum": 2**64}),
        "Example 1 contains an integer too large. Write integers of at most 64 bits",
    ),
    "a schema too deep": (
        with_function(parameters=json.loads('{"a":' * 70 + "{}" + "}" * 70)),
        "Example 1 is nested too deep",
    ),
}


@pytest.mark.parametrize(("row", "start"), BAD.values(), ids=BAD)
def test_invalid_row(row: Row, start: str) -> None:
    text = reason(row)
    assert text.startswith(start)
    assert text.endswith("."), "ends with a hint"


TOKENS = ["<|endoftext|>", "<|endofprompt|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]


@pytest.mark.parametrize("token", TOKENS)
def test_control_token_is_rejected_wherever_a_message_has_text(token: str) -> None:
    text = f"a {token} b"
    rows = [
        chat({"role": "user", "content": text}, ANSWER),
        chat(USER, {"role": "assistant", "content": text}),
        chat({"role": "user", "content": [{"type": "text", "text": text}]}, ANSWER),
        chat(USER, {"role": "assistant", "refusal": text}),
        chat({**USER, "name": text}, ANSWER),
        chat(USER, with_call(function={"name": "weather", "arguments": text})),
        chat(USER, CALLING, {**RESULT, "content": text}, ANSWER),
    ]
    for row in rows:
        assert reason(row).startswith(f"Example 1 message contains an invalid token: {token}.")
        escaped = json.dumps(row).replace("<", "\\u003c").encode()
        validator = DatasetValidator()
        validator.feed(escaped)
        assert validator.finish().error_count == 1


class TestCode:
    """The code of the error of a job with such a file."""

    @pytest.mark.parametrize("name", ["no role", "an unknown role", "messages empty"])
    def test_not_a_chat(self, name: str) -> None:
        assert validate(BAD[name][0]).code == "invalid_training_file"

    @pytest.mark.parametrize("name", ["no messages", "weight on a user's message", "an image"])
    def test_unusable_chat(self, name: str) -> None:
        assert validate(BAD[name][0]).code == "invalid_file_format"

    def test_valid_file_has_none(self) -> None:
        assert validate(chat(USER, ANSWER)).code is None


class TestFastPath:
    """The fast path may never accept what the full check rejects."""

    @pytest.mark.parametrize("row", GOOD.values(), ids=GOOD)
    def test_counts_strings_of_rows_it_accepts(self, row: Row) -> None:
        assert FORMAT.fast_check(row) in (0, json.dumps(row, ensure_ascii=False).count('"') / 2)

    @pytest.mark.parametrize("row", [row for row, _ in BAD.values()], ids=BAD)
    def test_accepts_no_invalid_row(self, row: Row) -> None:
        assert FORMAT.fast_check(row) == 0

    @pytest.mark.parametrize(
        "row", [None, 1, "messages", [], [1], {"messages": 1}, {"messages": "a"}]
    )
    def test_never_raises(self, row: Any) -> None:
        assert FORMAT.fast_check(row) == 0

    def test_accepts_a_simple_chat(self) -> None:
        assert FORMAT.fast_check(chat(USER, ANSWER)) == 9


class TestExample:
    def test_chat(self) -> None:
        row = chat({**USER, "name": "ann"}, {**ANSWER, "weight": 0}, ANSWER)
        assert to_example(row) == ChatExample(
            (
                Message("user", "Weather in Rome?", name="ann"),
                Message("assistant", "Sunny.", weight=0),
                Message("assistant", "Sunny."),
            )
        )

    def test_tools_and_tool_calls(self) -> None:
        read = to_example(chat(USER, CALLING, RESULT, ANSWER, tools=[TOOL]))
        assert read.tools == (TOOL,)
        assert read.messages[1] == Message("assistant", None, tool_calls=(CALL,))
        assert read.messages[2] == Message("tool", "sunny", tool_call_id="call_1")

    def test_legacy_functions_become_tools(self) -> None:
        read = to_example(GOOD["a function call"])
        assert read.tools == (TOOL,)
        (call,) = read.messages[1].tool_calls
        assert (call["type"], call["function"]) == ("function", FUNCTION_CALL)
        assert read.messages[2].role == "tool"
        assert read.messages[2].tool_call_id == call["id"]

    def test_parts_are_joined_and_refusal_is_content(self) -> None:
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        row = chat({"role": "user", "content": parts}, {"role": "assistant", "refusal": "No."})
        assert [message.content for message in to_example(row).messages] == ["ab", "No."]

    @pytest.mark.parametrize("row", GOOD.values(), ids=GOOD)
    def test_round_trip(self, row: Row) -> None:
        read = to_example(copy.deepcopy(row))
        again = chat(*(message.to_wire() for message in read.messages), tools=list(read.tools))
        assert validate(again).status_details() is None
        assert to_example(again) == read


class TestA52ManyMessages:
    def test_an_example_has_at_most_2048_messages(self) -> None:
        pairs = [USER, ANSWER]
        assert validate(chat(*pairs * 1024)).error_count == 0
        assert "has 2050 messages" in reason(chat(*pairs * 1025))
        # Names take the slow path.
        assert "has 2050 messages" in reason(chat(*[{**USER, "name": "ann"}, ANSWER] * 1025))

    def test_an_example_has_at_most_128_tools(self) -> None:
        tools = [
            {"type": "function", "function": {**FUNCTION, "name": f"f{n}"}} for n in range(129)
        ]
        assert validate(chat(USER, ANSWER, tools=tools[:128])).error_count == 0
        assert "tools has 129 items" in reason(chat(USER, ANSWER, tools=tools))


def test_arguments_may_be_nested_as_deep_as_a_row() -> None:
    calling = with_call(function={"name": "weather", "arguments": nest(64)})
    assert validate(chat(USER, calling)).error_count == 0


def test_empty_answers_are_noted() -> None:
    empty = {"role": "assistant", "content": " \n"}
    parts = {"role": "assistant", "content": [{"type": "text", "text": ""}]}
    rows = [
        chat(USER, ANSWER),
        chat(USER, empty),
        chat(USER, ANSWER, USER, empty),
        chat(USER, {**ANSWER, "weight": 0}, USER, parts),
        chat(USER, CALLING),
    ]
    summary = validate(*rows).summary
    assert summary is not None
    (note,) = summary.notes
    assert note == (
        "In 2 example(s) every answer is empty, and the model learns to say nothing, first in "
        "line 2."
    )
