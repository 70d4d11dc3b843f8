"""Segments between special tokens are tokenized once, and have the tokens of the whole text."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.worker.model.rendering.families import make_tokenizer
from tests.worker.model.rendering.shipped.test_tokenizers import CHAT, TEMPLATES
from tests.worker.model.rendering.shipped.test_tokenizers import make_tokenizer as make_kind
from tests.worker.model.rendering.shipped.trained import FLAGS, KINDS
from worker.model.rendering import Renderer
from worker.model.rendering.segments import (
    MAX_CACHED_CHARACTERS,
    EncodedText,
    TokenCache,
    has_independent_segments,
    join,
)
from worker.model.rendering.template_tokenizer import TemplateTokenizer

NUM_TURNS = 12


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are given to tokenizers."""
    texts: list[str] = []
    tokenize = TemplateTokenizer._tokenize

    def record(self: TemplateTokenizer, given: Sequence[str]) -> list[EncodedText]:
        texts.extend(given)
        return tokenize(self, given)

    monkeypatch.setattr(TemplateTokenizer, "_tokenize", record)
    return texts


def make_chat(num_turns: int) -> list[dict[str, Any]]:
    return [
        {"role": role, "content": f"{role} says {number} things"}
        for number in range(num_turns)
        for role in ("user", "assistant")
    ]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", KINDS)
def test_segments_have_the_tokens_of_the_whole(kind: str, flags: str) -> None:
    tokenizer = make_kind(kind, flags, next(iter(TEMPLATES)))
    assert has_independent_segments(tokenizer) == (
        flags == "plain" and not kind.endswith(", first")
    )
    renderer = Renderer(tokenizer, context_length=4096)
    tokens = renderer.template._tokens
    marked = renderer.template.render(renderer.template.prepare(CHAT))
    (whole,) = tokens._tokenize([marked])
    for text in (marked, marked.lstrip("<"), ""):
        (whole,) = tokens._tokenize([text])
        encoded = tokens.with_cache().encode_with_positions(text)
        assert encoded.ids.tolist() == whole.ids.tolist()
        assert encoded.starts.tolist() == whole.starts.tolist()


def test_rows_of_one_chat_share_their_tokens(tokenized: list[str]) -> None:
    renderer = Renderer(make_tokenizer("deepseek"), context_length=2**15)
    chat = make_chat(NUM_TURNS)
    tokenized.clear()
    assert len(renderer.render_example(chat).rows) == NUM_TURNS
    contents = sum(len(message["content"]) for message in chat)
    assert sum(map(len, tokenized)) < 4 * contents, "not once per row"


@pytest.mark.parametrize(("has_cache", "times"), [(False, 2), (True, 1)])
def test_only_a_renderer_with_a_cache_remembers_other_chats(
    tokenized: list[str], has_cache: bool, times: int
) -> None:
    renderer = Renderer(make_tokenizer("chatml"), context_length=512, has_cache=has_cache)
    chat = make_chat(1)
    tokenized.clear()
    first, second = (renderer.render_example(chat) for _ in range(2))
    assert first.rows[0].ids.tolist() == second.rows[0].ids.tolist()
    assert tokenized.count("user\nuser says 0 things") == times


def test_prompts_are_not_remembered(tokenized: list[str]) -> None:
    renderer = Renderer(make_tokenizer("chatml"), context_length=512, has_cache=True)
    tokenized.clear()
    for _ in range(2):
        renderer.render_prompt(make_chat(1)[:1])
    assert tokenized.count("user\nuser says 0 things") == 2


def test_a_cache_forgets_what_was_not_used_lately() -> None:
    cache, tokens = TokenCache(), join([], [])
    segments = [f"{number:0{MAX_CACHED_CHARACTERS // 4}}" for number in range(12)]
    for segment in segments:
        cache.put(segment, tokens)
        assert cache.get(segments[0]) is not None, "used again and again"
    assert cache.get(segments[1]) is None
    assert cache.get(segments[-1]) is not None
