"""Golden tests of shipped chat templates: ids, learned texts, and prompts of serving."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.worker.model.rendering.learned_texts import learned_texts
from tests.worker.model.rendering.shipped.chats import CHATS, THOUGHTS, Chat
from tests.worker.model.rendering.shipped.families import BY_NAME, Family, Support
from tests.worker.model.rendering.shipped.tokenizers import make_tokenizer
from worker.model.rendering import RenderedChat, Renderer, RenderingOptions

NOW = "2026-03-05T10:00:00"
CITIES = ("Zürich", "Bern")
CLOCK = re.compile(r'strftime_now\("([^"]*)"\)')
families = pytest.mark.parametrize("family", BY_NAME)


@cache
def get_tokenizer(family: str) -> PreTrainedTokenizerFast:
    return make_tokenizer(BY_NAME[family])


@cache
def get_renderer(family: str, *, thinking: bool) -> Renderer:
    """A job's renderer; `thinking` is True if its file has reasoning."""
    tokenizer = get_tokenizer(family)
    stops = tokenizer.convert_tokens_to_ids(list(BY_NAME[family].stops))
    options = RenderingOptions(now=NOW, thinking=thinking)
    return Renderer(tokenizer, context_length=8192, eos_ids=stops, options=options)


def render(family: str, chat: Chat, *, thinking: bool = False) -> RenderedChat:
    rendered = get_renderer(family, thinking=thinking).render_example(chat.messages, chat.tools)
    assert rendered.num_learned == rendered.num_turns, "no turn is lost"
    return rendered


def expect(family: Family, name: str) -> list[str]:
    """The texts that must be learned of a chat."""
    match name:
        case "three turns":
            return [family.answer.format(text) for text in ("One.", "Two.", "Three.")]
        case "tool call":
            return [*family.expect_call(CITIES[0]), family.answer.format("It rains.")]
        case "parallel calls":
            return [*family.expect_call(*CITIES), family.answer.format("Both.")]
        case "reasoning":
            form = family.reasoning or family.answer.replace("{}", "{answer}")
            pairs = zip(THOUGHTS, ("4.", "6."), strict=True)
            return [form.format(reasoning=thought, answer=text) for thought, text in pairs]
        case _:
            return [family.answer.format("Hi.")]


@families
@pytest.mark.parametrize("name", CHATS)
def test_every_turn_is_learned_with_its_end_and_nothing_else(family: str, name: str) -> None:
    rendered = render(family, CHATS[name], thinking=name == "reasoning")
    learned = learned_texts(get_tokenizer(family), rendered)
    assert sorted(learned) == sorted(expect(BY_NAME[family], name))


@families
@pytest.mark.parametrize("name", CHATS)
def test_serving_renders_the_prompt_that_training_saw(family: str, name: str) -> None:
    chat, thinking = CHATS[name], name == "reasoning"
    rows = render(family, chat, thinking=thinking).rows
    renderer = get_renderer(family, thinking=thinking)
    for place, message in enumerate(chat.messages):
        if message["role"] != "assistant":
            continue
        prompt = renderer.render_prompt(chat.messages[:place], chat.tools)
        size = len(prompt)
        assert any(
            row.ids[:size].tolist() == prompt
            and row.loss_mask[size]
            and not row.loss_mask[size - 1]
            for row in rows
        ), f"no row has the prompt of message {place}, followed by what is learned"


@families
def test_three_turns_are_as_few_rows_as_the_template_allows(family: str) -> None:
    assert len(render(family, CHATS["three turns"]).rows) == BY_NAME[family].rows


def parse_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """Write a message as transformers documents it: arguments are objects, contents are texts."""
    written = {**message, "content": message["content"] or ""}
    if "tool_calls" in message:
        written["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.loads(arguments)}}
            for call in message["tool_calls"]
            for arguments in [call["function"]["arguments"]]
        ]
    return written


def shorten_ids(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Number the ids of calls in the only form that Mistral's templates take."""
    text = json.dumps(messages, ensure_ascii=False)
    for number, city in enumerate(CITIES):
        text = text.replace(f'"call_{city}"', f'"call{number:05}"')
    shortened: list[dict[str, Any]] = json.loads(text)
    return shortened


def apply_chat_template(family: str, chat: Chat, *, thinking: bool, **more: Any) -> list[int]:
    """Tokenize a chat with transformers alone, with the switches and the clock of a job."""
    tokenizer = get_tokenizer(family)
    template = get_renderer(family, thinking=thinking).template
    # The clock cannot be passed as a value.
    source = CLOCK.sub(
        lambda call: repr(datetime.fromisoformat(NOW).strftime(call[1])),
        str(tokenizer.chat_template),
    )
    messages = [parse_arguments(message) for message in chat.messages]
    ids = tokenizer.apply_chat_template(
        shorten_ids(messages) if "{number" in BY_NAME[family].call else messages,
        tools=list(chat.tools) or None,
        chat_template=source,
        tokenize=True,
        return_dict=False,
        **template.switches,
        **more,
    )
    assert isinstance(ids, list)
    return ids


def is_native(family: Family, name: str) -> bool:
    """Check that the template renders the chat as it is."""
    if name == "system":
        return family.system is Support.TEMPLATE
    if "call" in name:
        is_split = name == "parallel calls" and family.parallel is None
        return family.tools is Support.TEMPLATE and not is_split
    return name != "reasoning" or family.reasoning is not None


NATIVE = [(f.name, name) for f in BY_NAME.values() for name in CHATS if is_native(f, name)]


@pytest.mark.parametrize(("family", "name"), NATIVE)
def test_ids_are_those_of_apply_chat_template(family: str, name: str) -> None:
    chat, thinking = CHATS[name], name == "reasoning"
    if BY_NAME[family].is_exact:
        whole = apply_chat_template(family, chat, thinking=thinking)
        rows = render(family, chat, thinking=thinking).rows
        assert whole in [row.ids.tolist() for row in rows]
    if BY_NAME[family].has_exact_prompts:
        question = Chat(chat.messages[:-1], chat.tools)
        expected = apply_chat_template(
            family, question, thinking=thinking, add_generation_prompt=True
        )
        renderer = get_renderer(family, thinking=thinking)
        assert renderer.render_prompt(question.messages, question.tools) == expected


@families
def test_the_table_of_features_is_true(family: str) -> None:
    expected, features = BY_NAME[family], get_renderer(family, thinking=True).template.features
    assert features.system == (expected.system is Support.TEMPLATE)
    renders_calls = features.call_form is not None
    assert renders_calls == (expected.tools is Support.TEMPLATE)
    if renders_calls:
        assert features.parallel_calls == (expected.parallel is not None)
    assert features.reasoning == (expected.reasoning is not None)


@families
def test_no_prompt_ends_inside_of_reasoning_in_a_job_without(family: str) -> None:
    tokenizer = get_tokenizer(family)
    prompt = get_renderer(family, thinking=False).render_prompt(CHATS["one turn"].messages[:1])
    text = str(tokenizer.decode(prompt))
    assert text.count("<think>") == text.count("</think>")
