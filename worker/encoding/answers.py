"""Spans of answers: where they are among the tokens, and the best one by a model's scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.encoding.texts import Text

# Tokens that neighbouring windows of a long context share: no answer may fall between two.
STRIDE = 64
# Of start and end each so many are tried; a longer answer than LONGEST tokens is never one.
TRIED = 20
LONGEST = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """Characters [start, end) of the context with their score; start = end = 0 means none."""

    start: int
    end: int
    score: float


def place(text: Text, start: int, end: int) -> tuple[int, int]:
    """First and last token of the characters [start, end) in a window; (0, 0) if not all there."""
    offsets = text.offsets[text.second :]
    inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > 0))
    if not len(inside):
        return 0, 0
    first, last = int(inside[0]), int(inside[-1])
    if offsets[first, 0] > start or offsets[last, 1] < end:
        return 0, 0
    return text.second + first, text.second + last


def allowed(text: Text) -> NDArray[np.bool_]:
    """Where an answer may begin or end: in the context, or at the first token for no answer."""
    may = text.offsets[:, 1] > text.offsets[:, 0]
    may[: text.second] = False
    may[0] = True
    return may


def best(windows: Sequence[Text], scores: Sequence[NDArray[np.float32]]) -> tuple[Answer, float]:
    """The best answer in any of the windows, and the score of there being none.

    `scores` [tokens, 2] are a window's log-probabilities of start and end.
    """
    found = Answer(0, 0, -np.inf)
    none = np.inf
    for text, score in zip(windows, scores, strict=True):
        none = min(none, float(score[0, 0] + score[0, 1]))
        for first, last in _candidates(text, score):
            total = float(score[first, 0] + score[last, 1])
            if total > found.score:
                start, end = int(text.offsets[first, 0]), int(text.offsets[last, 1])
                found = Answer(start, end, total)
    return found, none


def trimmed(answer: Answer, context: str) -> Answer:
    """Without spaces at its ends. A token of byte-level BPE begins with the space before its word,
    and not every such tokenizer leaves that out of the token's place in the text."""
    text = context[answer.start : answer.end]
    start = answer.start + len(text) - len(text.lstrip())
    return Answer(start, start + len(text.strip()), answer.score)


def _candidates(text: Text, score: NDArray[np.float32]) -> list[tuple[int, int]]:
    may = allowed(text)
    may[0] = False
    places = np.flatnonzero(may)
    starts = places[np.argsort(-score[places, 0])[:TRIED]]
    ends = places[np.argsort(-score[places, 1])[:TRIED]]
    return [(int(s), int(e)) for s in starts for e in ends if s <= e < s + LONGEST]
