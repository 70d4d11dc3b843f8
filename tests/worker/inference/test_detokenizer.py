"""Detokenization: incomplete characters are held back."""

from collections.abc import Callable
from functools import cache
from itertools import groupby

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.growth import assert_linear
from worker.inference.detokenizer import ByteDetokenizer
from worker.inference.vocabulary import BYTE_DECODER, Vocabulary

TOKENIZERS = ("byte_level", "byte_fallback", "wordpiece", "unigram")
WORDS = ("▁Hello", "▁big", "▁world", "▁", "He", "ll", "o", "�", "é", ".", "▁.")


@cache
def build_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tiny tokenizer, with the decoder of one of the usual kinds."""
    special = ["<s>", "</s>", "<unk>"]
    if kind == "byte_level":
        pieces = [*special, *BYTE_DECODER, "Ġhe", "llo", "âĤ", "ðŁĺ", "Ċ"]
        backend = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    elif kind == "byte_fallback":
        pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
        vocab = {p: i for i, p in enumerate(pieces)}
        backend = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
        backend.normalizer = normalizers.Replace(" ", "▁")
        backend.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
    elif kind == "wordpiece":
        pieces = [*special, "hello", "big", "##s", "##ger", ".", ",", "'", "n't"]
        vocab = {p: i for i, p in enumerate(pieces)}
        backend = Tokenizer(models.WordPiece(vocab=vocab, unk_token="<unk>"))
        backend.decoder = decoders.WordPiece()
    else:
        pieces = [*special, *WORDS]
        backend = Tokenizer(models.Unigram([(p, -1.0) for p in pieces], unk_id=2))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
    # Not special, and with a space, which is not in the alphabet of bytes.
    backend.add_tokens(["<tool call>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def push_all(vocabulary: Vocabulary, ids: list[int]) -> list[str]:
    detokenizer = vocabulary.new_detokenizer()
    return [*(detokenizer.push(id) for id in ids), detokenizer.flush()]


def ids_of_pieces(vocabulary: Vocabulary, pieces: list[str]) -> list[int]:
    return list(vocabulary._tokenizer.convert_tokens_to_ids(pieces))


def has_valid_byte_runs(vocabulary: Vocabulary, ids: list[int]) -> bool:
    """True if each run of bytes is UTF-8. Special tokens do not end a run."""
    values = [value for id in ids if (value := vocabulary._fallback_byte(id)) != b""]
    runs = [b"".join(v for v in run if v) for _, run in groupby(values, lambda v: v is None)]
    try:
        return all(run.decode() is not None for run in runs)
    except UnicodeDecodeError:
        return False


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


class TestDetokenizer:
    def test_incomplete_characters_are_held_back(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = vocabulary.new_detokenizer()
        ids = ids_of(tokenizer, "a€🙂")
        assert len(ids) == 1 + 3 + 4, "each byte is a token here"
        assert [detokenizer.push(id) for id in ids] == ["a", "", "", "€", "", "", "", "🙂"]
        assert detokenizer.flush() == ""

    def test_an_incomplete_character_is_flushed_at_the_end(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = vocabulary.new_detokenizer()
        pieces = [detokenizer.push(id) for id in ids_of(tokenizer, "x🙂")[:-1]]
        assert "".join(pieces) == "x"
        assert detokenizer.flush() == "\N{REPLACEMENT CHARACTER}"
        assert detokenizer.flush() == ""

    def test_invalid_bytes_do_not_hold_back_later_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = vocabulary.new_detokenizer()
        ids = ids_of(tokenizer, "🙂")[:2] + ids_of(tokenizer, "ab")
        assert [detokenizer.push(id) for id in ids] == ["", "", "\N{REPLACEMENT CHARACTER}a", "b"]

    def test_special_tokens_are_not_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        detokenizer = vocabulary.new_detokenizer()
        ids = [*ids_of(tokenizer, "a"), tokenizer.eos_token_id, *ids_of(tokenizer, "b")]
        assert [detokenizer.push(id) for id in ids] == ["a", "", "b"]

    @given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def test_deltas_join_to_the_whole_text(self, text: str) -> None:
        from_utf8 = ByteDetokenizer(lambda byte: bytes([byte]))
        pieces = [from_utf8.push(byte) for byte in text.encode()]
        assert "".join(pieces) + from_utf8.flush() == text

    def test_a_leading_space_is_dropped_at_the_start_only(self) -> None:
        vocabulary = Vocabulary(build_tokenizer("byte_fallback"))
        ids = ids_of_pieces(vocabulary, ["▁Hello", "</s>", "▁big", "▁", "▁world"])
        assert push_all(vocabulary, ids) == ["Hello", "", " big", " ", " world", ""]

    @pytest.mark.parametrize("kind", TOKENIZERS)
    @given(choices=st.lists(st.integers(0, 2**20), max_size=60))
    def test_a66_random_tokens_join_to_the_whole_text(self, kind: str, choices: list[int]) -> None:
        vocabulary = Vocabulary(build_tokenizer(kind))
        ids = [choice % vocabulary.size for choice in choices]
        if kind == "byte_fallback":
            # A run of bytes that is not valid as a whole is all replaced by a decoder of texts.
            assume(has_valid_byte_runs(vocabulary, ids))
        assert "".join(push_all(vocabulary, ids)) == vocabulary.decode(ids)

    @pytest.mark.parametrize("kind", TOKENIZERS)
    @given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    def test_a66_texts_join_to_the_whole_text(self, kind: str, text: str) -> None:
        tokenizer = build_tokenizer(kind)
        vocabulary, ids = Vocabulary(tokenizer), ids_of(tokenizer, text)
        assert "".join(push_all(vocabulary, ids)) == vocabulary.decode(ids)

    def test_a66_complete_characters_of_an_invalid_run_are_kept(self) -> None:
        vocabulary = Vocabulary(build_tokenizer("byte_fallback"))
        ids = ids_of_pieces(vocabulary, ["<0xC3>", "<0xA9>", "<0x80>", "<0xF0>", "▁big"])
        assert "".join(push_all(vocabulary, ids)) == "é�� big"

    @pytest.mark.parametrize(
        ("kind", "pieces"),
        [
            ("byte_level", [chr(0x80 + 0xA2)]),
            ("byte_level", ["ð", "Ł"]),
            ("byte_level", ["</s>"]),
            ("byte_fallback", ["<0x80>"]),
            ("byte_fallback", ["<0xF0>", "<0x9F>"]),
            ("byte_fallback", ["�"]),
            ("byte_fallback", ["</s>"]),
            ("byte_fallback", ["▁"]),
            ("wordpiece", ["##s"]),
        ],
    )
    def test_a66_work_is_linear(self, kind: str, pieces: list[str]) -> None:
        vocabulary = Vocabulary(build_tokenizer(kind))
        ids = ids_of_pieces(vocabulary, pieces)
        assert all(id is not None for id in ids)

        def prepare(size: int) -> Callable[[], list[str]]:
            return lambda: push_all(vocabulary, ids * (size // len(ids)))

        assert_linear(prepare, size=64)


class TestVocabulary:
    @pytest.mark.parametrize("text", ["hello", " x", "ü", "🙂", "\n\n", "\x00\x7f"])
    def test_token_bytes_join_to_the_text(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, text: str
    ) -> None:
        joined = b"".join(vocabulary.token_bytes(id) for id in ids_of(tokenizer, text))
        assert joined == text.encode()

    def test_the_bytes_of_a_special_token_are_its_name(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary
    ) -> None:
        assert vocabulary.token_bytes(int(tokenizer.eos_token_id)) == b"<|im_end|>"
