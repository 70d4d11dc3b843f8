"""BIO tagging: entities to one tag per unit of a text, and back."""

import math
from collections.abc import Sequence

import numpy as np

from app.formats.token_classification import EntitySpan, entities_from_tags
from app.formats.word_boundaries import CharSpan
from worker.encoding.segmentation import Units

OUTSIDE = "O"


def bio_tag_names(labels: Sequence[str]) -> tuple[str, ...]:
    """List the classes of the token classification head: O, then B- and I- of each label."""
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def unit_tags(entities: Sequence[EntitySpan], spans: Sequence[CharSpan]) -> list[str | None]:
    """Tag each unit. Units of an entity that they do not spell exactly have None, and no tag.

    Both are in order and do not overlap, so that one walk over both is enough.
    """
    tags: list[str | None] = [OUTSIDE] * len(spans)
    first = 0
    for entity in entities:
        while first < len(spans) and spans[first][1] <= entity.start:
            first += 1
        end = first
        while end < len(spans) and spans[end][0] < entity.end:
            end += 1
        if is_spelled(entity, spans[first:end]):
            inside = [f"I-{entity.label}"] * (end - first - 1)
            tags[first:end] = [f"B-{entity.label}", *inside]
        else:
            tags[first:end] = [None] * (end - first)
    return tags


def is_spelled(entity: EntitySpan, spans: Sequence[CharSpan]) -> bool:
    """True if the units that overlap the entity begin and end with it."""
    return bool(spans) and (spans[0][0], spans[-1][1]) == (entity.start, entity.end)


def count_unspelled(entities: Sequence[EntitySpan], units: Units, is_complete: bool) -> int:
    """Count the entities that begin or end inside a unit; not those beyond a truncated text."""
    starts = {start for start, _ in units.spans}
    ends = {end for _, end in units.spans}
    read_end = math.inf if is_complete else max(ends, default=0)
    return sum(
        entity.end <= read_end and not (entity.start in starts and entity.end in ends)
        for entity in entities
    )


def decode_entities(tags: Sequence[str], units: Units) -> tuple[EntitySpan, ...]:
    """Decode the tags of the units that have a token."""
    return entities_from_tags(expand_unit_tags(tags, units), units.spans)


def expand_unit_tags(tags: Sequence[str], units: Units) -> list[str]:
    """Expand the tags of units that have a token to all units.

    A unit without a token, such as a sign that the tokenizer drops, belongs to the entity that
    continues on both sides of it, or to none.
    """
    remaining_tags = iter(tags)
    expanded = [OUTSIDE if token < 0 else next(remaining_tags) for token in units.tokens]
    last = 0
    for index in np.flatnonzero(units.tokens >= 0).tolist():
        tag = expanded[index]
        if tag[0] == "I" and tag[2:] == expanded[last][2:]:
            expanded[last + 1 : index] = [tag] * (index - last - 1)
        last = index
    return expanded
