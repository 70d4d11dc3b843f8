"""Parts of an answer, whatever pieces it arrives in."""

import json
from collections import deque
from typing import Any

import pytest

from app.wire.engine import ChatCompletionRequest
from tests.executed_lines import count_executed_lines
from tests.worker.inference.answers.reading import Answer, read
from worker.inference.answers.answer_parser import AnswerParser
from worker.inference.answers.char_reader import MAX_TRIAL_CHARS
from worker.inference.answers.parts import TextPart
from worker.inference.chat_answer import find_special_texts, make_answer
from worker.inference.choice_text import TextDelta
from worker.inference.generation import ChoiceUpdate
from worker.model.rendering import ChatPrompt
from worker.model.rendering.answer_format import AnswerFormat
from worker.model.rendering.call_format import (
    CallFormat,
    Delimiters,
    NamedCalls,
    ObjectCalls,
    ParameterCalls,
)

FUNCTIONS: Any = {
    "look": {"properties": {"text": {"type": "string"}, "maybe": {"type": ["string", "null"]}}},
    "now": {},
}
KEYS = ("name", "arguments")
TAGS = ObjectCalls(Delimiters("<call>\n", None, "\n</call>"), *KEYS, KEYS)
# As Mistral writes them: a list after a special token, here the first noncharacter.
LIST = ObjectCalls(Delimiters("\ufdd0 [", ", ", "]"), *KEYS, (*KEYS, "id"))
BARE = ObjectCalls(Delimiters("", None, ""), "name", "parameters", ("name", "parameters"))
NAMED = NamedCalls(Delimiters("\ufdd0", None, ""), ["\ufdd1"])
XML = ParameterCalls(
    Delimiters("<call>\n<function=", None, "\n</parameter>\n</function>\n</call>"),
    first=">\n<parameter=",
    key_end=">\n",
    next="\n</parameter>\n<parameter=",
    empty=">\n</function>\n</call>",
    quote="",
)
LOOK = '{"name": "look", "arguments": {"text": "a } \\" ] b"}}'
TEXT = 'a } " ] b'
ARGUMENTS = {"text": TEXT}
XML_END = "\n</function>\n</call>"
EARLY_ARGUMENTS = json.dumps({"id": [1, {"a": "}"}], "arguments": ARGUMENTS, "name": "look"})
ARGUMENTS_AS_TEXT = json.dumps({"name": "look", "arguments": json.dumps(ARGUMENTS)})


def make_parser(calls: CallFormat, **more: Any) -> AnswerParser:
    special = {1: "\ufdd0", 2: "\ufdd1"}
    format = AnswerFormat(
        special,
        reasoning_begin="<think>",
        reasoning_end="</think>",
        calls=calls,
        has_calls_after_content=bool(calls.delimiters.opening),
    )
    return AnswerParser(format, FUNCTIONS, **more)


def parse(calls: CallFormat, text: str, **more: Any) -> Answer:
    """Parse a text as a whole and in pieces of each length, with the same result."""
    results = [
        read(
            make_parser(calls, **more),
            [text[start : start + size] for start in range(0, len(text), size)],
        )
        for size in (len(text) or 1, 1, 2, 3, 7)
    ]
    assert all(result == results[0] for result in results)
    return results[0]


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        (TAGS, f"<call>\n{LOOK}\n</call>"),
        (TAGS, f"<call>{LOOK}</call>"),
        (TAGS, f" <call> {LOOK} "),
        (TAGS, f"<call><call>\n{LOOK}\n</call>"[6:]),
        (TAGS, f"<call>{EARLY_ARGUMENTS}"),
        (TAGS, f"<call>{ARGUMENTS_AS_TEXT}"),
        (LIST, f"\ufdd0[{LOOK}]"),
        (BARE, LOOK.replace("arguments", "parameters")),
        (NAMED, f"\ufdd0look\ufdd1 {json.dumps(ARGUMENTS)}"),
        (XML, f"<call>\n<function=look>\n<parameter=text>\n{TEXT}\n</parameter>{XML_END}"),
        (XML, f"<call><function=look><parameter=text>\n{TEXT}\n</parameter></function></call>"),
    ],
)
def test_a_call(calls: CallFormat, text: str) -> None:
    answer = parse(calls, text)
    assert answer.calls == [("look", ARGUMENTS)]
    assert answer.text == ""


def test_calls_in_a_list() -> None:
    answer = parse(LIST, f'See: \ufdd0 [{LOOK}, {{"name": "now"}}] done')
    assert answer.calls == [("look", ARGUMENTS), ("now", {})]
    assert answer.text == "See: done"


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        (TAGS, "<call"),
        (TAGS, "a <call> b"),
        (TAGS, "<call>\n{}\n</call>"),
        (TAGS, '<call>{"name": 5}</call>'),
        (TAGS, LOOK),
        (TAGS, f"<call>{LOOK.replace('look', 'hidden')}</call>"),
        (TAGS, '<call>{"name": "look'),
        (TAGS, '<call>{"x": "' + "y" * (MAX_TRIAL_CHARS + 10)),
        (BARE, '{"name": "hidden", "parameters": {}}'),
        (BARE, f"Here: {LOOK}"),
        (XML, "<call>\n<function=hidden>\n</function>\n</call>"),
        (XML, "\n\n<call> <function=look no"),
    ],
)
def test_what_is_no_call_stays_text(calls: CallFormat, text: str) -> None:
    answer = parse(calls, text)
    assert answer.text == text
    assert answer.calls == []


def test_a_call_after_what_only_looked_like_one() -> None:
    answer = parse(TAGS, f"<call> no <ca<call>{LOOK}</call>")
    assert answer.text == "<call> no <ca"
    assert answer.names == ["look"]


@pytest.mark.parametrize("value", ["", "5", "null", "a\n</parameter> b", "<parameter=x>\n"])
def test_texts_between_tags(value: str) -> None:
    text = (
        f"<call>\n<function=look>\n<parameter=text>\n{value}\n</parameter>\n"
        f"<parameter=maybe>\nnull\n</parameter>\n</function>\n</call>"
    )
    assert parse(XML, text).calls == [("look", {"text": value, "maybe": None})]


def test_reasoning_before_a_text_and_a_call() -> None:
    answer = parse(TAGS, f"<think>\nHm </thin.\n\n</think>\n\nSo:\n<call>{LOOK}</call>")
    assert (answer.reasoning, answer.text, answer.names) == ("Hm </thin.", "So:", ["look"])


def test_reasoning_that_the_prompt_began() -> None:
    answer = parse(TAGS, "Hm.\n</think>\n\nYes.", is_reasoning=True)
    assert (answer.reasoning, answer.text) == ("Hm.", "Yes.")


def test_reasoning_without_its_end() -> None:
    answer = parse(TAGS, "<think>Hm <call>", is_reasoning=False)
    assert (answer.reasoning, answer.text) == ("Hm <call>", "")


def test_a_call_that_is_cut() -> None:
    parser = make_parser(TAGS)
    answer = read(parser, [f"<call>{LOOK[:45]}"])
    assert answer.names == ["look"]
    assert parser.is_cut


def test_text_is_held_back_only_while_it_may_be_a_call() -> None:
    parser = make_parser(TAGS)
    assert parser.push("Hello") == [TextPart("Hello")]
    assert parser.push(" <ca") == []
    assert parser.push("r>") == [TextPart(" <car>")]


def test_the_work_is_linear() -> None:
    def count_lines(size: int) -> int:
        text = "<call>{ <call>{" * size + f"<call>{LOOK.replace('a }', 'x' * size)}</call>"
        pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
        parser = make_parser(TAGS)
        return count_executed_lines(lambda: read(parser, pieces))

    assert count_lines(400) < 5 * count_lines(100)


def test_white_space_that_could_begin_a_call_for_ever_is_text() -> None:
    text = "<" + " " * (2 * MAX_TRIAL_CHARS) + "x"
    assert read(make_parser(TAGS), [text]).text == text


@pytest.mark.parametrize("with_tools", [False, True])
def test_special_tokens_are_in_texts_that_are_parsed_only(with_tools: bool) -> None:
    format = AnswerFormat({5: "\ufdd0"}, calls=LIST)
    prompt = ChatPrompt([1], begins_reasoning=False, answer_format=format)
    tools = [{"type": "function", "function": {"name": "look"}}] if with_tools else None
    messages = [{"role": "user", "content": "Look"}]
    request = ChatCompletionRequest.model_validate(
        {"model": "m", "messages": messages, "tools": tools}
    )
    assert find_special_texts(request, prompt) == ({5: "\ufdd0"} if with_tools else {})
    assert (make_answer(request, prompt).parser is not None) == with_tools


@pytest.mark.parametrize("size", range(len("</call>")))
def test_a_cut_end_of_a_call_is_no_text(size: int) -> None:
    answer = read(make_parser(TAGS), [f"<call>\n{LOOK}\n", "</call>"[:size]])
    assert (answer.calls, answer.text) == ([("look", ARGUMENTS)], "")


def test_another_text_after_a_call_stays() -> None:
    answer = read(make_parser(TAGS), [f"<call>\n{LOOK}\n</cab"])
    assert answer.text == "</cab"


def test_tokens_of_reasoning_are_counted_up_to_its_end() -> None:
    request = ChatCompletionRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    )
    format = AnswerFormat({}, reasoning_begin="<think>", reasoning_end="</think>")
    answer = make_answer(request, ChatPrompt([1], begins_reasoning=False, answer_format=format))
    for number, text in enumerate(["<think>", "so", "</think>", "\n", "yes"], start=1):
        update = ChoiceUpdate(0, TextDelta(text), num_tokens=number)
        deque(answer.add(update), maxlen=0)
    assert (answer.reasoning, answer.reasoning_tokens) == ("so", 3)
