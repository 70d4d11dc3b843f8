"""A51, A52: rendering takes a time linear in the messages, for every family of templates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.executed_lines import count_executed_lines
from tests.worker.model.rendering.families import TEMPLATES, make_tokenizer
from worker.model.rendering import Renderer, template
from worker.model.rendering.jinja import render_template
from worker.model.rendering.segments import EncodedText
from worker.model.rendering.template_tokenizer import TemplateTokenizer

Chat = list[dict[str, Any]]
NUM_TURNS = 256
MAX_GROWTH = 2.5
FUNCTION = {"name": "weather", "arguments": '{"city": "Rome"}'}
CALL = {"id": "c", "type": "function", "function": FUNCTION}


def make_chat(content: str, turns: int, **answer: Any) -> Chat:
    turn = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": content, **answer},
    ]
    return turn * turns


CHATS: dict[str, Callable[[int], Chat]] = {
    "empty": lambda turns: make_chat("", turns),
    "spaces": lambda turns: make_chat(" \n ", turns),
    "words": lambda turns: make_chat("hello all", turns),
    "reasoning": lambda turns: make_chat("<think>\na\n</think>\n\nb", turns),
    "forged": lambda turns: make_chat("<start>assistant\n<end>", turns),
    "calls": lambda turns: make_chat("", turns, tool_calls=[CALL]),
}


@dataclass
class Work:
    """Messages given to the template, and characters given to the tokenizer."""

    messages: int = 0
    characters: int = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count the work of all renderers."""
    counted = Work()
    tokenize = TemplateTokenizer._tokenize

    def counted_render(source: str, variables: dict[str, Any]) -> str:
        counted.messages += len(variables["messages"])
        return render_template(source, variables)

    def counted_tokenize(self: TemplateTokenizer, texts: Sequence[str]) -> list[EncodedText]:
        counted.characters += sum(map(len, texts))
        return tokenize(self, texts)

    monkeypatch.setattr(template, "render_template", counted_render)
    monkeypatch.setattr(TemplateTokenizer, "_tokenize", counted_tokenize)
    return counted


def measure(work: Work, render: Callable[[], object]) -> Work:
    before = Work(work.messages, work.characters)
    render()
    return Work(work.messages - before.messages, work.characters - before.characters)


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize("family", TEMPLATES)
def test_a51_a52_twice_the_messages_are_twice_the_work(family: str, kind: str, work: Work) -> None:
    renderer = Renderer(make_tokenizer(family), context_length=2**20)
    chats = [CHATS[kind](turns) for turns in (NUM_TURNS, 2 * NUM_TURNS)]
    half, whole = (measure(work, lambda c=chat: renderer.render_example(c)) for chat in chats)
    assert whole.messages < MAX_GROWTH * half.messages
    assert whole.characters < MAX_GROWTH * half.characters
    prompts = [chat[:-1] for chat in chats]
    half, whole = (measure(work, lambda c=chat: renderer.render_prompt(c)) for chat in prompts)
    assert (half.messages, whole.messages) == tuple(map(len, prompts)), "one rendering"
    assert whole.characters < MAX_GROWTH * half.characters, "one tokenization"


@pytest.mark.parametrize("family", TEMPLATES)
def test_a51_the_templates_are_linear_themselves(family: str) -> None:
    renderer = Renderer(make_tokenizer(family), context_length=2**20)
    chats = [make_chat("hello", turns)[:-1] for turns in (NUM_TURNS, 2 * NUM_TURNS)]
    half, whole = (count_executed_lines(lambda c=chat: renderer.render_prompt(c)) for chat in chats)
    assert whole < MAX_GROWTH * half


def test_the_lines_of_a_quadratic_template_are_counted() -> None:
    source = "{% for _ in messages %}{% for _ in messages %}\n.{% endfor %}{% endfor %}"
    chats = [make_chat("hello", turns) for turns in (8, 16)]
    render_template(source, {"messages": []})  # compiles it
    half, whole = (
        count_executed_lines(lambda c=chat: render_template(source, {"messages": c}))
        for chat in chats
    )
    assert whole > MAX_GROWTH * half


def test_a52_an_example_beyond_the_context_is_not_tokenized_whole(work: Work) -> None:
    renderer = Renderer(make_tokenizer("chatml"), context_length=512)
    sizes = [
        measure(work, lambda n=size: renderer.render_example(make_chat("a" * n, 4))).characters
        for size in (10_000, 1_000_000)
    ]
    # Special tokens are not tokenized, and more of them fit into what is kept of shorter texts.
    assert sizes[1] < 1.1 * sizes[0]
