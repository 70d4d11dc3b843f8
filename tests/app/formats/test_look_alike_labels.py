"""Labels that look alike are named in the report of a file."""

import json

import pytest

from app.formats.look_alike_labels import appearance, look_alike_notes
from app.formats.validator import DatasetValidator

LABELS = ["positive", "Positive", "\u200bpositive", "n\u00e9gatif", "ne\u0301gatif", "neutral"]


def notes_of(labels: list[str]) -> str:
    validator = DatasetValidator()
    rows = [{"text": f"{number} {label}", "label": label} for label in labels for number in (1, 2)]
    validator.feed("\n".join(map(json.dumps, rows)).encode())
    report = validator.finish()
    assert report.summary is not None
    return "\n".join(report.summary.notes)


def test_twins_are_named_with_their_lines_and_counts() -> None:
    notes = notes_of(LABELS)
    assert (
        'The labels "positive" (2, first in line 1), "Positive" (2, first in line 3), '
        '"\\u200bpositive" (2, first in line 5) look alike but are different classes' in notes
    )
    assert '"n\\xe9gatif" (2, first in line 7), "ne\\u0301gatif" (2, first in line 9)' in notes
    assert "neutral" not in notes


def test_labels_of_different_appearance_are_not_named() -> None:
    assert "look alike" not in notes_of(["a", "b", "ä", "a b", "ab"])


@pytest.mark.parametrize(
    ("label", "twin"),
    [
        ("Straße", "STRASSE"),
        ("soft\u00adhyphen", "softhyphen"),
        ("a\u00a0b", "a  b"),
        ("\uff21", "a"),
        ("\ufb01t", "fit"),
    ],
)
def test_appearance(label: str, twin: str) -> None:
    assert appearance(label) == appearance(twin)


def test_many_groups_are_counted() -> None:
    labels = {f"{case}{number}": 1 for number in range(9) for case in "aA"}
    *first, last = look_alike_notes(labels, dict.fromkeys(labels, 1))
    assert len(first) == 3
    assert last == "6 more groups of labels look alike."
