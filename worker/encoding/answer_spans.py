"""Extractive question answering: answer spans to tokens and back, ranked by a model's scores."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.formats.word_boundaries import (
    UNSPACED_SCRIPTS,
    CharSpan,
    is_inside_word,
    is_mark,
    trim_span,
)
from worker.encoding.tokenizer import TokenizedText

# Tokens shared by neighbouring windows of a long context, so that an answer at a border is complete
# in one of them.
WINDOW_OVERLAP = 64
# Best start and end tokens that are combined; SQuAD scripts call it n_best_size.
N_BEST_SIZE = 20
# Default limit of an answer; a request may set another one.
MAX_ANSWER_TOKENS = 64
# Characters within which the end of a word is searched. WordPiece does not read longer words.
MAX_WORD_LENGTH = 100
# Scripts without spaces between words, and Hangul, which attaches particles to words: an answer may
# be part of the text between two spaces.
PART_OF_WORD_SCRIPTS = re.compile(f"[{UNSPACED_SCRIPTS}\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]")

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """Characters [start, end) of the context with a score; start = end = 0 means no answer."""

    start: int
    end: int
    score: float


def token_span(text: TokenizedText, start: int, end: int) -> tuple[int, int]:
    """Find the first and last token of the characters [start, end); (0, 0) if any is outside."""
    tokens = tokens_in_span(text, start, end)
    if not len(tokens):
        return 0, 0
    first, last = int(tokens[0]), int(tokens[-1])
    if text.offsets[first, 0] > start or text.offsets[last, 1] < end:
        return 0, 0
    return first, last


def tokens_in_span(text: TokenizedText, start: int, end: int) -> NDArray[np.intp]:
    """Find the indices of a window's tokens that overlap the context's characters [start, end)."""
    offsets = text.offsets[text.pair_start :]
    overlaps = (offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > 0)
    return text.pair_start + np.flatnonzero(overlaps)


def answer_mask(text: TokenizedText) -> NDArray[np.bool_]:
    """Mask [tokens] of an answer's possible ends: context tokens, and token 0 for "no answer"."""
    mask = text.offsets[:, 1] > text.offsets[:, 0]
    mask[: text.pair_start] = False
    mask[0] = True
    return mask


def best_answer(
    context: str,
    windows: Sequence[TokenizedText],
    scores: Sequence[Scores],
    *,
    whole_words: bool = True,
) -> tuple[AnswerSpan, float]:
    """Find the best answer in any of the windows, and the score of "no answer"."""
    ranked = rank_answers(context, windows, scores, whole_words=whole_words)
    best = next(ranked, AnswerSpan(0, 0, -np.inf))
    return best, no_answer_score(scores)


def no_answer_score(scores: Sequence[Scores]) -> float:
    """Compute the score of "no answer": the minimum over all windows, as in SQuAD 2.0."""
    return min(float(score[0, 0] + score[0, 1]) for score in scores)


def rank_answers(
    context: str,
    windows: Sequence[TokenizedText],
    scores: Sequence[Scores],
    *,
    max_tokens: int = MAX_ANSWER_TOKENS,
    whole_words: bool = True,
) -> Iterator[AnswerSpan]:
    """Yield the distinct answers of all windows, best first.

    `scores` has the log-probabilities of start and end [tokens, 2] of each window. `max_tokens`
    limits an answer's length; with `whole_words` an answer is extended to whole words.
    """
    candidates = [
        _candidate_spans(text, score, max_tokens)
        for text, score in zip(windows, scores, strict=True)
    ]
    spans = np.concatenate([span for span, _ in candidates])
    totals = np.concatenate([total for _, total in candidates])
    seen = set()
    for index in np.argsort(-totals, kind="stable").tolist():
        span = trim_span(context, *spans[index].tolist())
        if whole_words:
            span = _extend_to_words(context, span)
        if span[0] < span[1] and span not in seen:
            seen.add(span)
            yield AnswerSpan(*span, float(totals[index]))


def _candidate_spans(
    text: TokenizedText, score: Scores, max_tokens: int
) -> tuple[NDArray[np.int32], Scores]:
    """List a window's candidate answers: character spans [candidates, 2] and their scores."""
    mask = answer_mask(text)
    mask[0] = False
    allowed = np.flatnonzero(mask)
    starts = allowed[np.argsort(-score[allowed, 0])[:N_BEST_SIZE]]
    ends = allowed[np.argsort(-score[allowed, 1])[:N_BEST_SIZE]]
    first, last = (grid.ravel() for grid in np.meshgrid(starts, ends, indexing="ij"))
    is_valid = (first <= last) & (last - first < max_tokens)
    first, last = first[is_valid], last[is_valid]
    spans = np.stack([text.offsets[first, 0], text.offsets[last, 1]], axis=1)
    return spans, score[first, 0] + score[last, 1]


def cuts_words(context: str, span: CharSpan) -> bool:
    """True if the span begins or ends inside a word, and so is not an answer of whole words."""
    return _extend_to_words(context, span) != span


def _extend_to_words(context: str, span: CharSpan) -> CharSpan:
    return _find_word_boundary(context, span[0], -1), _find_word_boundary(context, span[1], 1)


def _find_word_boundary(context: str, start: int, step: int) -> int:
    """Find the next position in direction `step` between words, or `start` if it is too far."""
    for position in range(start, start + step * MAX_WORD_LENGTH, step):
        if not _is_inside_spaced_word(context, position):
            return position
    return start


def _is_inside_spaced_word(context: str, position: int) -> bool:
    """True if a cut here would split a word, in a script that separates words by spaces."""
    if not is_inside_word(context, position):
        return False
    return is_mark(context[position]) or not any(
        PART_OF_WORD_SCRIPTS.match(context[index]) for index in (position - 1, position)
    )
