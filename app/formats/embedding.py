"""Texts that belong together: `{"anchor", "positive"}`, with a `negative` that does not; or pairs
with a score that says how alike they are: `{"sentence1", "sentence2", "score"}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.errors import Flaw, kind
from app.formats.fields import check_keys, check_text
from app.formats.format import Facts, Format

SHAPE = 'Write it as {"anchor": "…", "positive": "…"}, with a "negative" if you have one.'
SCORED = 'Write it as {"sentence1": "…", "sentence2": "…", "score": 0.8}.'


@dataclass(frozen=True, slots=True)
class Pair:
    """`anchor` shall lie near `positive`, and nearer than to `negative` if there is one."""

    anchor: str
    positive: str
    negative: str | None = None


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two texts; pairs with a higher `score` shall lie nearer. Its scale does not matter."""

    first: str
    second: str
    score: float


def example(row: Mapping[str, Any]) -> Pair | Likeness:
    """A checked row as an example."""
    if "score" in row:
        return Likeness(row["sentence1"], row["sentence2"], float(row["score"]))
    return Pair(row["anchor"], row["positive"], row.get("negative"))


def check(row: Any) -> None:
    """Raises Flaw unless `row` is a pair or a triplet of texts, or a pair with a score."""
    if isinstance(row, dict) and ("sentence1" in row or "sentence2" in row):
        _check_scored(row)
        return
    check_keys(row, ("anchor", "positive"), ("negative",), shape=SHAPE)
    check_text(row, "anchor")
    check_text(row, "positive")
    # null says the same as leaving it out.
    if row.get("negative") is not None:
        check_text(row, "negative")


def _check_scored(row: dict[str, Any]) -> None:
    check_keys(row, ("sentence1", "sentence2", "score"), shape=SCORED)
    check_text(row, "sentence1")
    check_text(row, "sentence2")
    score = row["score"]
    # True is a number to Python.
    if type(score) not in (int, float):
        raise Flaw(f": score is {kind(score)}", "Write a number; more means more alike.")


def facts(row: Mapping[str, Any]) -> Facts:
    """See Format."""
    if "score" in row:
        return Facts(
            question=f"{row['sentence1']}\0{row['sentence2']}",
            answer=repr(float(row["score"])),
            labels=(),
            shape="score",
        )
    alike = row["anchor"] == row["positive"] or row["positive"] == row.get("negative")
    return Facts(
        question=f"{row['anchor']}\0{row['positive']}",
        answer=row.get("negative") or "",
        labels=(),
        remark="the same text stands twice" if alike else None,
        shape="positive",
        conflicts=False,
    )


FORMAT = Format(
    name="embedding",
    claims=lambda row: not row.keys().isdisjoint(("anchor", "positive", "sentence1", "sentence2")),
    check=check,
    facts=facts,
)
