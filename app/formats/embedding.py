"""Texts that belong together: `{"anchor", "positive"}`, with a `negative` that does not; or pairs
with a score that says how alike they are: `{"sentence1", "sentence2", "score"}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.errors import InvalidExample, json_type_name
from app.formats.fields import check_keys, check_text
from app.formats.format import ExampleFacts, Format

SHAPE_HINT = 'Write it as {"anchor": "…", "positive": "…"}, with a "negative" if you have one.'
SCORED_HINT = 'Write it as {"sentence1": "…", "sentence2": "…", "score": 0.8}.'


@dataclass(frozen=True, slots=True)
class TextPair:
    """`anchor` shall lie near `positive`, and nearer than to `negative` if there is one."""

    anchor: str
    positive: str
    negative: str | None = None


@dataclass(frozen=True, slots=True)
class ScoredTextPair:
    """Two texts; pairs with a higher `score` shall lie nearer. Its scale does not matter."""

    first: str
    second: str
    score: float


def to_example(row: Mapping[str, Any]) -> TextPair | ScoredTextPair:
    """A checked row as an example."""
    if "score" in row:
        return ScoredTextPair(row["sentence1"], row["sentence2"], float(row["score"]))
    return TextPair(row["anchor"], row["positive"], row.get("negative"))


def check(row: Any) -> None:
    """Raises Flaw unless `row` is a pair or a triplet of texts, or a pair with a score."""
    if isinstance(row, dict) and ("sentence1" in row or "sentence2" in row):
        _check_scored(row)
        return
    check_keys(row, ("anchor", "positive"), ("negative",), hint=SHAPE_HINT)
    check_text(row, "anchor")
    check_text(row, "positive")
    # null says the same as leaving it out.
    if row.get("negative") is not None:
        check_text(row, "negative")


def _check_scored(row: dict[str, Any]) -> None:
    check_keys(row, ("sentence1", "sentence2", "score"), hint=SCORED_HINT)
    check_text(row, "sentence1")
    check_text(row, "sentence2")
    score = row["score"]
    # True is a number to Python.
    if type(score) not in (int, float):
        raise InvalidExample(
            f": score is {json_type_name(score)}", "Write a number; more means more alike."
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
    alike = row["anchor"] == row["positive"] or row["positive"] == row.get("negative")
    return ExampleFacts(
        input=f"{row['anchor']}\0{row['positive']}",
        target=row.get("negative") or "",
        labels=(),
        warning="the same text stands twice" if alike else None,
        shape="positive",
        can_conflict=False,
    )


FORMAT = Format(
    name="embedding",
    matches=lambda row: not row.keys().isdisjoint(("anchor", "positive", "sentence1", "sentence2")),
    check=check,
    extract_facts=extract_facts,
)
