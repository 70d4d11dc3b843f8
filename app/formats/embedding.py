"""Texts that belong together: `{"anchor", "positive"}`, with a `negative` that does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.fields import check_keys, check_text
from app.formats.format import Facts, Format

SHAPE = 'Write it as {"anchor": "…", "positive": "…"}, with a "negative" if you have one.'


@dataclass(frozen=True, slots=True)
class Pair:
    """`anchor` shall lie near `positive`, and nearer than to `negative` if there is one."""

    anchor: str
    positive: str
    negative: str | None = None


def example(row: Mapping[str, Any]) -> Pair:
    """A checked row as an example."""
    return Pair(row["anchor"], row["positive"], row.get("negative"))


def check(row: Any) -> None:
    """Raises Flaw unless `row` is a pair or a triplet of texts."""
    check_keys(row, ("anchor", "positive"), ("negative",), shape=SHAPE)
    check_text(row, "anchor")
    check_text(row, "positive")
    # null says the same as leaving it out.
    if row.get("negative") is not None:
        check_text(row, "negative")


def facts(row: Mapping[str, Any]) -> Facts:
    """See Format."""
    alike = row["anchor"] == row["positive"] or row["positive"] == row.get("negative")
    return Facts(
        question=f"{row['anchor']}\0{row['positive']}",
        answer=row.get("negative") or "",
        labels=(),
        remark="the same text stands twice" if alike else None,
        conflicts=False,
    )


FORMAT = Format(
    name="embedding",
    claims=lambda row: "anchor" in row or "positive" in row,
    check=check,
    facts=facts,
)
