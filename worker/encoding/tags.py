"""BIO tagging: entities to one tag per word and back; a word's first token carries its tag."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.formats.token_classification import EntitySpan
from app.formats.word_boundaries import CharSpan

OUTSIDE = "O"


def bio_tag_names(labels: Sequence[str]) -> tuple[str, ...]:
    """List the classes of the token classification head: O, then B- and I- of each label."""
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def first_tokens(offsets: NDArray[np.int32], words: Sequence[CharSpan]) -> NDArray[np.int32]:
    """Find each word's first token; -1 for a word that was truncated or has no token."""
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
    """Expand the tags of words that have a token to all words; `begins` is from `first_tokens`.

    A word without a token, such as a sign that the tokenizer drops, belongs to the entity that
    continues on both sides of it, or to none.
    """
    remaining_tags = iter(tags)
    expanded = [OUTSIDE if token < 0 else next(remaining_tags) for token in begins]
    last = 0
    for index in np.flatnonzero(begins >= 0).tolist():
        tag = expanded[index]
        if tag[0] == "I" and tag[2:] == expanded[last][2:]:
            expanded[last + 1 : index] = [tag] * (index - last - 1)
        last = index
    return expanded


def word_tags(entities: Sequence[EntitySpan], words: Sequence[CharSpan]) -> list[str]:
    """Tag each word. A word that an entity overlaps only partly belongs to the entity.

    Both are in order and do not overlap, so that one walk over both is enough.
    """
    tags = [OUTSIDE] * len(words)
    first = 0
    for entity in entities:
        while first < len(words) and words[first][1] <= entity.start:
            first += 1
        prefix, index = "B", first
        while index < len(words) and words[index][0] < entity.end:
            tags[index] = f"{prefix}-{entity.label}"
            prefix, index = "I", index + 1
    return tags
