"""Classification format: `{"text", "label"}`, or `{"text", "labels": []}` for multi-label."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.errors import InvalidExample, escape_for_message
from app.formats.fields import MAX_LABEL_LENGTH, check_keys, check_label, check_list, check_text
from app.formats.format import ExampleFacts, Format, FormatName

SHAPE_HINT = 'Write it as {"text": "…", "label": "…"}, or {"text": "…", "labels": ["…"]}.'

LABELS_HINT = 'Write several labels of a text as "labels": {"text": "…", "labels": ["a", "b"]}.'


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its labels: exactly one, or any number if `multi_label`."""

    text: str
    labels: tuple[str, ...]
    multi_label: bool


def to_example(row: Mapping[str, Any]) -> LabelledText:
    """Convert a checked row."""
    if "labels" in row:
        return LabelledText(row["text"], tuple(row["labels"]), multi_label=True)
    return LabelledText(row["text"], (row["label"],), multi_label=False)


def check(row: Any) -> None:
    """Raise InvalidExample unless `row` is a labelled text."""
    check_keys(row, ("text",), ("label", "labels"), hint=SHAPE_HINT)
    check_text(row, "text")
    if ("label" in row) == ("labels" in row):
        actual = "both label and labels" if "label" in row else "no label"
        raise InvalidExample(f" has {actual}", SHAPE_HINT)
    if "label" in row:
        if isinstance(row["label"], list):
            raise InvalidExample(": label is a list", LABELS_HINT)
        check_label(row["label"], "label")
        return
    check_list(row["labels"], "labels")
    for label in row["labels"]:
        check_label(label, "a label")
    # A line may hold half a million labels: comparing all pairs would take hours.
    if len(set(row["labels"])) < len(row["labels"]):
        repeated, _ = Counter(row["labels"]).most_common(1)[0]
        raise InvalidExample(
            f': the label "{escape_for_message(repeated)}" appears twice', "Keep one of them."
        )


def extract_facts(row: Mapping[str, Any]) -> ExampleFacts:
    """See Format."""
    labels = to_example(row).labels
    return ExampleFacts(
        input=row["text"],
        target="\0".join(sorted(labels)),
        labels=labels,
        shape="labels" if "labels" in row else "label",
    )


def fast_check(row: Any) -> int:
    """See Format. Passes a text with one label, without any other key."""
    if type(row) is not dict or len(row) != 2:
        return 0
    text, label = row.get("text"), row.get("label")
    if type(text) is not str or type(label) is not str or not text.strip():
        return 0
    return 4 if label and len(label) <= MAX_LABEL_LENGTH and label == label.strip() else 0


FORMAT = Format(
    name=FormatName.CLASSIFICATION,
    matches=lambda row: "text" in row and "entities" not in row,
    check=check,
    fast_check=fast_check,
    extract_facts=extract_facts,
    min_labels=2,
)
