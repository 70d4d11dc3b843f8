"""Mistral's models: ids of prompts and of training rows are those of Mistral's own tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import SentencePieceExtractor
from transformers.integrations.mistral.tokenizer import MistralConverter

from tests.worker.model.rendering.shipped.chats import CHATS, Chat
from tests.worker.model.rendering.shipped.families import BY_NAME
from tests.worker.model.rendering.shipped.test_shipped import shorten_ids
from tests.worker.model.rendering.shipped.tokenizers import add_family, find_mistral_file
from tests.worker.model.rendering.shipped.trained import SPACE
from worker.model.rendering import Renderer, RenderingOptions

pytestmark = pytest.mark.golden

SYSTEM = {"role": "system", "content": "Be brief. Été, 東京, 🦆"}
# Definitions and the system's message stand before the last question: rows of several turns differ.
LONG = {
    "system, three turns": Chat([SYSTEM, *CHATS["three turns"].messages]),
    "call in the middle": Chat(
        [SYSTEM, *CHATS["tool call"].messages, *CHATS["three turns"].messages],
        CHATS["tool call"].tools,
    ),
}
ALL = {name: chat for name, chat in {**CHATS, **LONG}.items() if name != "reasoning"}
FAMILIES = [name for name in BY_NAME if name.startswith("Mistral")]
CONTROL = 3


def convert_sentencepiece(path: str) -> Tokenizer:
    """Convert as the models on the hub are: a space is added to a text's beginning only."""
    extractor = SentencePieceExtractor(path)
    model: dict[str, Any] = dict(extractor.extract(BPE))
    tokenizer = Tokenizer(
        BPE(model["vocab"], model["merges"], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    control = [piece.piece for piece in extractor.proto.pieces if piece.type == CONTROL]
    tokenizer.add_special_tokens(
        [AddedToken(piece, special=True, normalized=False) for piece in control]
    )
    return tokenizer


@dataclass(frozen=True)
class Pair:
    """Our renderer of a family, and Mistral's own tokenizer for prompts and for training."""

    renderer: Renderer
    serving: MistralTokenizer
    training: MistralTokenizer


@cache
def make_pair(family: str) -> Pair:
    path = find_mistral_file(BY_NAME[family].template.removeprefix("mistral/"))
    is_tekken = path.endswith(".json")
    backend = MistralConverter(path).converted() if is_tekken else convert_sentencepiece(path)
    renderer = Renderer(
        add_family(backend, BY_NAME[family]),
        context_length=8192,
        options=RenderingOptions(now="2026-01-01T00:00:00", thinking=False),
    )
    return Pair(
        renderer,
        MistralTokenizer.from_file(path),
        MistralTokenizer.from_file(path, mode=ValidationMode.finetuning),
    )


def encode(tokenizer: MistralTokenizer, messages: Sequence[Any], chat: Chat) -> list[int]:
    request: Any = ChatCompletionRequest(
        messages=shorten_ids(messages),
        tools=list(chat.tools) or None,  # type: ignore[arg-type]
    )
    return tokenizer.encode_chat_completion(request).tokens


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_mistrals_own_tokenizer(family: str, name: str) -> None:
    pair, chat = make_pair(family), ALL[name]
    rendered = pair.renderer.render_example(chat.messages, chat.tools)
    assert rendered.num_learned == rendered.num_turns
    rows = [row.ids.tolist() for row in rendered.rows]
    assert encode(pair.training, chat.messages, chat) in rows
    for place, message in enumerate(chat.messages):
        if message["role"] != "assistant":
            continue
        prompt = pair.renderer.render_prompt(chat.messages[:place], chat.tools)
        assert prompt == encode(pair.serving, chat.messages[:place], chat)
        assert any(
            row.ids[: len(prompt)].tolist() == prompt and row.loss_mask[len(prompt)]
            for row in rendered.rows
        ), "the answer is learned after this prompt"
