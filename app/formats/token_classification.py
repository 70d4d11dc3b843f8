"""Token classification format: `{"tokens", "tags"}` in BIO, or `{"text", "entities"}` as spans."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from app.formats.errors import InvalidExample, escape_for_message, json_type_name
from app.formats.fields import check_keys, check_label, check_list, check_text
from app.formats.format import ExampleFacts, Format, FormatName
from app.formats.word_boundaries import (
    CharSpan,
    is_inside_spaced_word,
    join_tokens,
    trim_span,
)

BIO_TAG = re.compile(r"O|[BI]-(?P<label>.+)")
TAGS_HINT = 'Write it as {"tokens": ["New", "York"], "tags": ["B-place", "I-place"]}.'
ENTITIES_HINT = 'Write it as {"text": "…", "entities": [{"start": 0, "end": 8, "label": "place"}]}.'


@dataclass(frozen=True, slots=True, order=True)
class EntitySpan:
    """An entity: characters [start, end) of a text, counted in code points."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text and its entities, in order."""

    text: str
    entities: tuple[EntitySpan, ...]


def to_example(row: Mapping[str, Any]) -> AnnotatedText:
    """Convert a checked row to the text that a client would send, and its entities in that text."""
    if "tags" not in row:
        return AnnotatedText(row["text"], _sorted_entities(row))
    text, spans = join_tokens(row["tokens"])
    trimmed = [trim_span(text, *span) for span in spans]
    return AnnotatedText(text, entities_from_tags(row["tags"], trimmed))


def _sorted_entities(row: Mapping[str, Any]) -> tuple[EntitySpan, ...]:
    """List the entities in order, without whitespace at their ends, which is not part of them."""
    return tuple(
        sorted(
            EntitySpan(*trim_span(row["text"], entity["start"], entity["end"]), entity["label"])
            for entity in row["entities"]
        )
    )


def entities_from_tags(tags: Sequence[str], spans: Sequence[CharSpan]) -> tuple[EntitySpan, ...]:
    """Decode BIO tags, as seqeval does: an I- tag that continues no entity begins one."""
    entities: list[EntitySpan] = []
    open_label = None
    for tag, (start, end) in zip(tags, spans, strict=True):
        label = None if tag == "O" else tag[2:]
        if label is not None and tag[0] == "I" and label == open_label:
            entities[-1] = EntitySpan(entities[-1].start, end, label)
        elif label is not None:
            entities.append(EntitySpan(start, end, label))
        open_label = label
    return tuple(entities)


def check(row: Any) -> None:
    """Raise InvalidExample unless `row` is a text with annotated entities."""
    if isinstance(row, dict) and ("entities" in row or "text" in row):
        _check_entities_row(row)
    else:
        _check_tags_row(row)


def _check_tags_row(row: Any) -> None:
    check_keys(row, ("tokens", "tags"), hint=TAGS_HINT)
    check_list(row["tokens"], "tokens")
    check_list(row["tags"], "tags")
    if not row["tokens"]:
        raise InvalidExample(": tokens is an empty list", "Give it a token, or remove the example.")
    if len(row["tokens"]) != len(row["tags"]):
        counts = f"{len(row['tokens'])} tokens but {len(row['tags'])} tags"
        raise InvalidExample(f" has {counts}", "Give each token one tag.")
    for number, token in enumerate(row["tokens"], start=1):
        if not isinstance(token, str) or not token.strip():
            actual = json_type_name(token) if not isinstance(token, str) else "empty"
            raise InvalidExample(f": token {number} is {actual}", "Write each token as a string.")
    for number, tag in enumerate(row["tags"], start=1):
        if not isinstance(tag, str) or not BIO_TAG.fullmatch(tag):
            hint = "Tags are O, B-LABEL for an entity's first token and I-LABEL for the others."
            raise InvalidExample(f': tag {number} is "{escape_for_message(str(tag))}"', hint)
        if tag != "O":
            check_label(tag[2:], f"the label of tag {number}")


def _check_entities_row(row: dict[str, Any]) -> None:
    check_keys(row, ("text", "entities"), hint=ENTITIES_HINT)
    check_text(row, "text")
    check_list(row["entities"], "entities")
    spans = [_check_entity(entity, row["text"]) for entity in row["entities"]]
    spans.sort()
    for before, after in pairwise(spans):
        if after[0] < before[1]:
            both = f"[{before[0]}, {before[1]}) and [{after[0]}, {after[1]})"
            raise InvalidExample(f": the entities {both} overlap", "Keep one of them.")
    # Only now: many entities that each span a long text would be cut out of it one by one.
    for start, end in spans:
        if row["text"][start:end].isspace():
            raise InvalidExample(
                f": the entity [{start}, {end}) is only whitespace",
                "Mark a word, or remove the entity.",
            )


def _check_entity(entity: Any, text: str) -> tuple[int, int]:
    """The entity's span. Raises InvalidExample."""
    if not isinstance(entity, dict) or entity.keys() != {"start", "end", "label"}:
        raise InvalidExample(
            ": the fields of an entity are not exactly start, end and label", ENTITIES_HINT
        )
    start, end = entity["start"], entity["end"]
    if type(start) is not int or type(end) is not int:
        raise InvalidExample(": the start or end of an entity is not an integer", ENTITIES_HINT)
    subject = f": the entity [{start}, {end})"
    if not 0 <= start < end <= len(text):
        hint = "Count characters from 0; end is the first character after the entity."
        raise InvalidExample(f"{subject} is not in the text of {len(text)} characters", hint)
    check_label(entity["label"], "the label of an entity")
    return start, end


def extract_facts(row: Mapping[str, Any]) -> ExampleFacts:
    """See Format."""
    annotated = to_example(row)
    text, entities = annotated.text, annotated.entities
    has_cut_word = any(
        is_inside_spaced_word(text, index) for e in entities for index in (e.start, e.end)
    )
    return ExampleFacts(
        input=text,
        target=repr(entities),
        labels=tuple(entity.label for entity in entities),
        shape="tags" if "tags" in row else "entities",
        warning="an entity starts or ends inside a word" if has_cut_word else None,
    )


FORMAT = Format(
    name=FormatName.TOKEN_CLASSIFICATION,
    matches=lambda row: "tags" in row or "tokens" in row or "entities" in row,
    check=check,
    extract_facts=extract_facts,
    min_labels=1,
)
