"""TemplateTokenizer: the lower bound of token counts, and encoding without the GIL."""

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tokenizers import AddedToken, normalizers
from transformers import PreTrainedTokenizerFast

from tests.worker.conftest import tiny_tokenizer, words_tokenizer
from worker.model.rendering.template_tokenizer import TemplateTokenizer
from worker.model.rendering.token_bytes import max_token_bytes
from worker.model.special_tokens import read_pipeline

TEXTS = ("", "a", "hellhellhell" * 50, "\N{KELVIN SIGN}" * 90, "<|im_end|>" * 20, "Zoë 💡" * 30)


def nfc_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])
    return tokenizer


@pytest.mark.parametrize("make", [tiny_tokenizer, nfc_tokenizer])
def test_the_bound_never_exceeds_the_token_count(
    make: Callable[[], PreTrainedTokenizerFast],
) -> None:
    tokenizer = make()
    tokens = TemplateTokenizer(tokenizer)
    for text in TEXTS:
        covered = tokens.mark(f"<|im_start|>user\n{tokens.escape(text)}<|im_end|>\n")
        assert 2 <= tokens.min_token_count(covered) <= len(tokens.encode(covered))
        assert tokens.min_plain_token_count(text) <= len(tokenizer(text).input_ids)


def test_the_bound_of_a_long_text_is_useful() -> None:
    tokens = TemplateTokenizer(tiny_tokenizer())
    # Its longest token is <|endoftext|>.
    assert max_token_bytes(read_pipeline(tiny_tokenizer())) == 13
    assert tokens.min_plain_token_count("hell" * 1300) == 400
    assert tokens.min_token_count(tokens.mark("<|im_end|>" * 400)) == 400


def test_tokenizers_with_unbounded_tokens_have_no_bound() -> None:
    assert max_token_bytes(read_pipeline(words_tokenizer(token_types=True))) is None
    greedy = tiny_tokenizer()
    greedy.backend_tokenizer.add_tokens([AddedToken("<mask>", lstrip=True)])
    assert max_token_bytes(read_pipeline(greedy)) is None
    shortening = tiny_tokenizer()
    shortening.backend_tokenizer.normalizer = normalizers.Strip()
    assert max_token_bytes(read_pipeline(shortening)) is None
    assert TemplateTokenizer(shortening).min_plain_token_count(" " * 1000) == 0


@pytest.fixture
def _no_thread_switching() -> Iterator[None]:
    """Keep Python from taking the GIL from a thread that does not release it."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("_no_thread_switching")
def test_encoding_releases_the_gil() -> None:
    tokens, text = TemplateTokenizer(tiny_tokenizer()), "hello world " * 20_000
    turns, moved, tries = 0, threading.Event(), 20

    def encode() -> None:
        for _ in range(tries):
            before = turns
            tokens.encode(text)
            if turns > before:
                moved.set()
                return

    encoding = threading.Thread(target=encode)
    encoding.start()
    while encoding.is_alive():
        turns += 1
        # Releases the GIL.
        time.sleep(0)
    assert moved.is_set(), "an engine would stall while a text is encoded"
