"""Spans of answers: where they are among the tokens, and the best ones by a model's scores."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.formats.word_boundaries import CharSpan, is_mark, splits_word
from worker.encoding.tokenizer import TokenizedText

# Tokens that neighbouring windows of a long context share: no answer may fall between two.
WINDOW_OVERLAP = 64
# Of start and end each so many are tried; a longer answer than LONGEST tokens is one only for who
# asks for it.
N_BEST_SIZE = 20
MAX_ANSWER_TOKENS = 64
# Characters behind which the end of a word is not looked for; WordPiece reads none that is longer.
MAX_WORD_LENGTH = 100
# Scripts that put no spaces between words, and Hangul, which has particles on them. An answer may
# well be a part of what stands between two spaces.
UNSPACED_SCRIPTS = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u31ff\u3400-\u9fff\uac00-\ud7ff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """Characters [start, end) of the context with their score; start = end = 0 means none."""

    start: int
    end: int
    score: float


def token_span(text: TokenizedText, start: int, end: int) -> tuple[int, int]:
    """First and last token of the characters [start, end) in a window; (0, 0) if not all there."""
    inside = tokens_in_span(text, start, end)
    if not len(inside):
        return 0, 0
    first, last = int(inside[0]), int(inside[-1])
    if text.offsets[first, 0] > start or text.offsets[last, 1] < end:
        return 0, 0
    return first, last


def tokens_in_span(text: TokenizedText, start: int, end: int) -> NDArray[np.intp]:
    """The tokens in a window of which a character is among [start, end) of the context."""
    offsets = text.offsets[text.pair_start :]
    inside = (offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > 0)
    return text.pair_start + np.flatnonzero(inside)


def answer_mask(text: TokenizedText) -> NDArray[np.bool_]:
    """Where an answer may begin or end: in the context, or at the first token for no answer."""
    may = text.offsets[:, 1] > text.offsets[:, 0]
    may[: text.pair_start] = False
    may[0] = True
    return may


def best_answer(
    context: str, windows: Sequence[TokenizedText], scores: Sequence[Scores]
) -> tuple[AnswerSpan, float]:
    """The best answer in any of the windows, and the score of there being none."""
    first = next(rank_answers(context, windows, scores), AnswerSpan(0, 0, -np.inf))
    return first, no_answer_score(scores)


def no_answer_score(scores: Sequence[Scores]) -> float:
    """That of the window in which it is least likely that there is no answer."""
    return min(float(score[0, 0] + score[0, 1]) for score in scores)


def rank_answers(
    context: str,
    windows: Sequence[TokenizedText],
    scores: Sequence[Scores],
    *,
    max_tokens: int = MAX_ANSWER_TOKENS,
    whole_words: bool = True,
) -> Iterator[AnswerSpan]:
    """The answers in all windows, the best first, each once.

    `scores` [tokens, 2] are a window's log-probabilities of start and end. `longest` is in tokens;
    with `whole_words` a part of a word stands for all of it.
    """
    found = [
        _candidate_spans(text, score, max_tokens)
        for text, score in zip(windows, scores, strict=True)
    ]
    spans = np.concatenate([span for span, _ in found])
    totals = np.concatenate([total for _, total in found])
    seen = set()
    for number in np.argsort(-totals, kind="stable").tolist():
        span = trim_span(context, *spans[number].tolist())
        if whole_words:
            span = _word_boundary(context, span[0], -1), _word_boundary(context, span[1], 1)
        if span[0] < span[1] and span not in seen:
            seen.add(span)
            yield AnswerSpan(*span, float(totals[number]))


def trim_span(context: str, start: int, end: int) -> CharSpan:
    """Without white space at the ends, which some tokenizers count to the next word."""
    inside = context[start:end]
    start += len(inside) - len(inside.lstrip())
    return start, start + len(inside.strip())


def _candidate_spans(
    text: TokenizedText, score: Scores, longest: int
) -> tuple[NDArray[np.int32], Scores]:
    """Spans of characters [candidates, 2] and their scores."""
    may = answer_mask(text)
    may[0] = False
    places = np.flatnonzero(may)
    starts = places[np.argsort(-score[places, 0])[:N_BEST_SIZE]]
    ends = places[np.argsort(-score[places, 1])[:N_BEST_SIZE]]
    first, last = (grid.ravel() for grid in np.meshgrid(starts, ends, indexing="ij"))
    kept = (first <= last) & (last - first < longest)
    first, last = first[kept], last[kept]
    spans = np.stack([text.offsets[first, 0], text.offsets[last, 1]], axis=1)
    return spans, score[first, 0] + score[last, 1]


def _word_boundary(context: str, at: int, step: int) -> int:
    """The next place by `step` where no word is cut, or `at` itself if that is far."""
    for place_ in range(at, at + step * MAX_WORD_LENGTH, step):
        if not _splits_word(context, place_):
            return place_
    return at


def _splits_word(context: str, at: int) -> bool:
    if not splits_word(context, at):
        return False
    return is_mark(context[at]) or not any(
        UNSPACED_SCRIPTS.match(context[place_]) for place_ in (at - 1, at)
    )
