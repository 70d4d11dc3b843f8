"""Entities as a model sees them: one BIO tag for the first token of each word."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.formats.token_classification import EntitySpan
from app.formats.word_boundaries import CharSpan

OUTSIDE = "O"


def bio_tag_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The classes of a head for these kinds of entities."""
    return (OUTSIDE, *(f"{place}-{label}" for label in labels for place in "BI"))


def first_tokens(offsets: NDArray[np.int32], words: Sequence[CharSpan]) -> NDArray[np.int32]:
    """For each word the token it begins with; -1 for a word that was cut off or has no token."""
    begins = np.full(len(words), -1, dtype=np.int32)
    word = 0
    for token, (start, end) in enumerate(offsets):
        if start == end:  # a special token
            continue
        while word < len(words) and words[word][1] <= start:
            word += 1
        if word < len(words) and begins[word] < 0 and end > words[word][0]:
            begins[word] = token
    return begins


def expand_word_tags(tags: Sequence[str], begins: NDArray[np.int32]) -> list[str]:
    """The tags of all words, by those of the words that have a token, as in `first_tokens`.

    A word without one, such as a sign that the tokenizer leaves out, belongs to the entity whose
    parts are on both sides of it, or else to none.
    """
    given = iter(tags)
    found = [OUTSIDE if token < 0 else next(given) for token in begins]
    last = 0
    for number in np.flatnonzero(begins >= 0).tolist():
        tag = found[number]
        if tag[0] == "I" and tag[2:] == found[last][2:]:
            found[last + 1 : number] = [tag] * (number - last - 1)
        last = number
    return found


def word_tags(entities: Sequence[EntitySpan], words: Sequence[CharSpan]) -> list[str]:
    """The tag of each word; a word that an entity only touches belongs to it."""
    tags = [OUTSIDE] * len(words)
    for entity in entities:
        prefix = "B"
        for number, (start, end) in enumerate(words):
            if start < entity.end and end > entity.start:
                tags[number] = f"{prefix}-{entity.label}"
                prefix = "I"
    return tags
