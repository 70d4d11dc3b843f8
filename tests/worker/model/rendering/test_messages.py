"""Normalization of messages: the legacy form, ids of calls, and messages that the SDK dumps."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from worker.model.rendering import Renderer, RenderingError

# Writes all that it is told of calls and results.
TEMPLATE = (
    "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.name }} {{ m.tool_call_id }}\n"
    "{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{% if c.id | length != 9 %}{{ raise_exception('an id has nine letters') }}{% endif %}"
    "{{ c.id }}:{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
USER = {"role": "user", "content": "rain?"}
FUNCTION = {"name": "weather", "arguments": '{"city": "Rome"}'}
LEGACY = [
    USER,
    {"role": "assistant", "content": None, "function_call": FUNCTION},
    {"role": "function", "name": "weather", "content": "yes"},
]
MODERN = [
    USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_abc", "type": "function", "function": FUNCTION}],
    },
    {"role": "tool", "name": "weather", "tool_call_id": "call_abc", "content": "yes"},
]


@pytest.fixture
def renderer(tokenizer: PreTrainedTokenizerFast) -> Renderer:
    other = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        chat_template=TEMPLATE,
    )
    return Renderer(other, context_length=512)


def read(renderer: Renderer, tokenizer: PreTrainedTokenizerFast, chat: Any) -> str:
    return str(tokenizer.decode(renderer.render_prompt(chat)))


def test_the_legacy_form_is_the_same_chat(
    renderer: Renderer, tokenizer: PreTrainedTokenizerFast
) -> None:
    text = read(renderer, tokenizer, LEGACY)
    assert 'call00000:weather({"city": "Rome"})' in text
    assert "tool weather call00000\nyes" in text
    assert text == read(renderer, tokenizer, MODERN)


def test_results_keep_their_calls_in_any_order(
    renderer: Renderer, tokenizer: PreTrainedTokenizerFast
) -> None:
    calls = [
        {"id": id, "type": "function", "function": {**FUNCTION, "name": id}}
        for id in ("first", "123456789", "third")
    ]
    results = [
        {"role": "tool", "tool_call_id": id, "content": f"of {id}"}
        for id in ("third", "first", "123456789")
    ]
    text = read(renderer, tokenizer, [USER, {"role": "assistant", "tool_calls": calls}, *results])
    assert "call00000:first(" in text
    assert "123456789:123456789(" in text
    assert "call00002:third(" in text
    for id, name in (("call00002", "third"), ("call00000", "first"), ("123456789", "123456789")):
        assert f" {id}\nof {name}<|im_end|>" in text


def test_keys_without_a_value_change_nothing(
    renderer: Renderer, tokenizer: PreTrainedTokenizerFast
) -> None:
    answer = {"role": "assistant", "content": "no"}
    dumped = {
        **answer,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": [],
        "reasoning_content": None,
    }
    plain, full = (read(renderer, tokenizer, [USER, each, USER]) for each in (answer, dumped))
    assert full == plain


@pytest.mark.parametrize("function", [None, {}, {"name": 1}, "weather"])
def test_a_call_without_a_function_is_an_error(renderer: Renderer, function: Any) -> None:
    call = {"id": "c", "type": "function", "function": function}
    with pytest.raises(RenderingError, match="needs a function"):
        renderer.render_prompt([USER, {"role": "assistant", "tool_calls": [call]}])


def test_arguments_with_a_lone_surrogate_stay_a_text(
    renderer: Renderer, tokenizer: PreTrainedTokenizerFast
) -> None:
    function = {"name": "weather", "arguments": '{"city": "\\ud800"}'}
    call = {"id": "call_abc", "type": "function", "function": function}
    chat = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]
    assert "\\\\ud800" in read(renderer, tokenizer, chat)
