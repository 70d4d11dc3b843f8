"""Units of texts in many scripts and tokenizers, and the choice of their kind."""

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import PreTrainedTokenizerFast

from app.formats.word_boundaries import find_words
from worker.encoding.segmentation import (
    Segmentation,
    choose_segmentation,
    find_units,
    first_tokens,
)
from worker.encoding.tokenizer import EncoderTokenizer

TEXT = "In New York-City"
WORDS = find_words(TEXT)


def wrap(tokenizer: Tokenizer) -> EncoderTokenizer:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[UNK]", model_max_length=64
    )
    return EncoderTokenizer(fast, 64)


def wordpiece() -> EncoderTokenizer:
    """As BERT's: Chinese characters are apart, Thai words and numbers with units are not."""
    pieces = ["[UNK]", "5", "##kg", "ไป", "##กรุงเทพ", "東", "京", "a"]
    tokenizer = Tokenizer(
        WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return wrap(tokenizer)


def unigram() -> EncoderTokenizer:
    """As XLM-R's: pieces of several characters, with a sign for the space before them."""
    pieces = [
        "[UNK]",
        "▁",
        "▁Paris",
        "的東",
        "東",
        "京",
        "的",
        "▁的東京",
        "กรุง",
        "ที่กรุง",
        "เทพ",
        "ที่",
    ]
    scores = [(piece, -float(len(pieces) - len(piece))) for piece in pieces]
    tokenizer = Tokenizer(Unigram(scores, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return wrap(tokenizer)


def byte_level() -> EncoderTokenizer:
    """As GPT-2's: a character of several bytes has several tokens, a space is in the next word."""
    alphabet = ["[UNK]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({char: n for n, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return wrap(tokenizer)


def units_of(tokenizer: EncoderTokenizer, text: str, kind: Segmentation) -> list[str]:
    (tokens,) = tokenizer.for_segmentation(kind).tokenize([text])
    units = find_units(text, tokens.offsets, kind)
    assert len(units.tokens) == len(units.spans)
    return [text[start:end] for start, end in units.spans]


def test_each_word_has_its_first_token() -> None:
    offsets = np.array([(0, 0), (0, 2), (3, 5), (5, 6), (7, 11), (11, 12), (12, 16), (0, 0)])
    assert [TEXT[start:end] for start, end in WORDS] == ["In", "New", "York", "-", "City"]
    assert first_tokens(offsets.astype(np.int32), WORDS).tolist() == [1, 2, 4, 5, 6]


def test_truncated_words_have_no_token() -> None:
    offsets = np.array([(0, 0), (0, 2), (3, 6), (0, 0)], dtype=np.int32)
    assert first_tokens(offsets, WORDS).tolist() == [1, 2, -1, -1, -1]


def test_pieces_are_the_tokenizers() -> None:
    assert units_of(wordpiece(), "5kg 東京", Segmentation.PIECES) == ["5", "kg", "東", "京"]
    assert units_of(wordpiece(), "5kg 東京", Segmentation.WORDS) == ["5kg", "東京"]
    assert units_of(unigram(), "Paris 的東京", Segmentation.PIECES) == ["Paris", "的東京"]


def test_a_character_of_several_tokens_is_one_unit_without_the_space_before_it() -> None:
    assert units_of(byte_level(), "a é京", Segmentation.PIECES) == ["a", "é", "京"]


def test_marks_are_in_the_unit_of_their_character() -> None:
    assert units_of(byte_level(), "e\u0301a", Segmentation.PIECES) == ["e\u0301", "a"]


@pytest.mark.parametrize("make", [wordpiece, unigram, byte_level])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("的東京 a", ["的", "東", "京", "a"]),
        ("ที่กรุง", ["ที่", "ก", "รุ", "ง"]),
        ("カナへ", ["カ", "ナ", "へ"]),
    ],
)
def test_characters_of_scripts_without_spaces_are_apart(
    make: object, text: str, expected: list[str]
) -> None:
    assert callable(make)
    assert units_of(make(), text, Segmentation.CHARACTERS) == expected


def test_other_scripts_keep_their_ids_by_characters() -> None:
    for tokenizer, text in (
        (unigram(), "Paris Paris"),
        (byte_level(), "a b é"),
        (wordpiece(), "5kg a"),
    ):
        plain, apart = (
            tokenizer.for_segmentation(kind).tokenize([text])[0]
            for kind in (Segmentation.PIECES, Segmentation.CHARACTERS)
        )
        assert plain.ids.tolist() == apart.ids.tolist()


@pytest.mark.parametrize(
    ("lost", "chosen"),
    [
        ((0, 0, 0), Segmentation.WORDS),
        ((10, 0, 0), Segmentation.WORDS),
        ((11, 0, 0), Segmentation.PIECES),
        ((900, 40, 9), Segmentation.CHARACTERS),
        ((900, 40, 30), Segmentation.CHARACTERS),
        ((900, 40, 40), Segmentation.PIECES),
    ],
)
def test_the_coarsest_segmentation_is_chosen_that_lacks_hardly_any_span(
    lost: tuple[int, ...], chosen: Segmentation
) -> None:
    assert choose_segmentation(zip(Segmentation, lost, strict=True), total=1000) == chosen
