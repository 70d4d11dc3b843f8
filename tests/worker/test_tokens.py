"""How few tokens a text can have: never more than it has, and no bound where there is none."""

import threading
import time
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, normalizers
from transformers import PreTrainedTokenizerFast

from tests.worker.conftest import tiny_tokenizer, words_tokenizer
from worker.tokens import SpecialTokens, longest

TEXTS = ("", "a", "hellhellhell" * 50, "\N{KELVIN SIGN}" * 90, "<|im_end|>" * 20, "Zoë 💡" * 30)


def composing() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])
    return tokenizer


@pytest.mark.parametrize("make", [tiny_tokenizer, composing])
def test_no_text_has_fewer(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    tokenizer = make()
    tokens = SpecialTokens(tokenizer)
    for text in TEXTS:
        covered = f"<|im_start|>user\n{tokens.cover(text)}<|im_end|>\n"
        assert 2 <= tokens.fewest(covered) <= len(tokens.encode(covered))
        assert tokens.fewest_of_plain(text) <= len(tokenizer(text).input_ids)


def test_a_long_text_has_many() -> None:
    tokens = SpecialTokens(tiny_tokenizer())
    # Its longest token is <|endoftext|>.
    assert longest(tiny_tokenizer()) == 13
    assert tokens.fewest_of_plain("hell" * 1300) == 400
    assert tokens.fewest("<|im_end|>" * 400) == 400


def test_where_a_token_may_swallow_anything_there_is_no_bound() -> None:
    assert longest(words_tokenizer(types=True)) is None
    greedy = tiny_tokenizer()
    greedy.backend_tokenizer.add_tokens([AddedToken("<mask>", lstrip=True)])
    assert longest(greedy) is None
    shortening = tiny_tokenizer()
    shortening.backend_tokenizer.normalizer = normalizers.Strip()
    assert longest(shortening) is None
    assert SpecialTokens(shortening).fewest_of_plain(" " * 1000) == 0


def test_other_threads_go_on_meanwhile() -> None:
    tokens = SpecialTokens(tiny_tokenizer())
    encoding = threading.Thread(target=tokens.encode, args=["hello world " * 100_000])
    encoding.start()
    turns = 0
    while encoding.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 20, "an engine would stand still for as long as a text is encoded"
