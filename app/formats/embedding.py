"""Embedding format: `{"anchor", "positive"}` with an optional `negative`, or
`{"sentence1", "sentence2", "score"}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.errors import InvalidExample, json_type_name
from app.formats.fields import check_keys, check_text
from app.formats.format import ExampleFacts, Format, FormatName

SHAPE_HINT = 'Write it as {"anchor": "…", "positive": "…"}, with a "negative" if you have one.'
SCORED_HINT = 'Write it as {"sentence1": "…", "sentence2": "…", "score": 0.8}.'


@dataclass(frozen=True, slots=True)
class TextPair:
    """A pair or triplet: `anchor` is more similar to `positive` than to `negative`, if given."""

    anchor: str
    positive: str
    negative: str | None = None


@dataclass(frozen=True, slots=True)
class ScoredTextPair:
    """Two texts and their similarity. Only the order of scores matters, not their scale."""

    first: str
    second: str
    score: float


def to_example(row: Mapping[str, Any]) -> TextPair | ScoredTextPair:
    """Convert a checked row."""
    if "score" in row:
        return ScoredTextPair(row["sentence1"], row["sentence2"], float(row["score"]))
    return TextPair(row["anchor"], row["positive"], row.get("negative"))


def check(row: Any) -> None:
    """Raise InvalidExample unless `row` is a pair or a triplet of texts, or a scored pair."""
    if isinstance(row, dict) and ("sentence1" in row or "sentence2" in row):
        _check_scored(row)
        return
    check_keys(row, ("anchor", "positive"), ("negative",), hint=SHAPE_HINT)
    check_text(row, "anchor")
    check_text(row, "positive")
    # null is the same as leaving it out.
    if row.get("negative") is not None:
        check_text(row, "negative")


def _check_scored(row: dict[str, Any]) -> None:
    check_keys(row, ("sentence1", "sentence2", "score"), hint=SCORED_HINT)
    check_text(row, "sentence1")
    check_text(row, "sentence2")
    score = row["score"]
    # A bool is an int in Python.
    if type(score) not in (int, float):
        raise InvalidExample(
            f": score is {json_type_name(score)}", "Write a number; higher means more similar."
        )


def extract_facts(row: Mapping[str, Any]) -> ExampleFacts:
    """See Format."""
    if "score" in row:
        return ExampleFacts(
            input=f"{row['sentence1']}\0{row['sentence2']}",
            target=repr(float(row["score"])),
            labels=(),
            shape="score",
        )
    has_same_texts = row["anchor"] == row["positive"] or row["positive"] == row.get("negative")
    return ExampleFacts(
        input=f"{row['anchor']}\0{row['positive']}",
        target=row.get("negative") or "",
        labels=(),
        warning="the same text appears twice" if has_same_texts else None,
        shape="positive",
        can_conflict=False,
    )


FORMAT = Format(
    name=FormatName.EMBEDDING,
    matches=lambda row: not row.keys().isdisjoint(("anchor", "positive", "sentence1", "sentence2")),
    check=check,
    extract_facts=extract_facts,
)
