"""Checks of fields that the rows of several formats have."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.formats.errors import Flaw, kind, refuse_extra, shown

# What any row may carry for its owner's own use; nothing reads it.
OWN = ("id", "metadata")
# Beyond this a label is most likely a text in the wrong field.
LONGEST_LABEL = 256


def check_keys(
    row: Any, needed: Iterable[str], optional: Iterable[str] = (), *, shape: str
) -> None:
    """Raises Flaw unless `row` is an object with the keys `needed`, and at most these others."""
    if not isinstance(row, dict):
        raise Flaw(f" is {kind(row)}, not an object", shape, code="invalid_training_file")
    for key in needed:
        if key not in row:
            raise Flaw(f" is missing key '{key}'", shape)
    refuse_extra(row, (*needed, *optional, *OWN), "An example")


def check_text(row: Mapping[str, Any], key: str) -> None:
    """Raises Flaw unless the field is a text with something in it."""
    value = row[key]
    if not isinstance(value, str):
        raise Flaw(f": {key} is {kind(value)}", "Write a string.")
    if not value.strip():
        raise Flaw(f": {key} is empty", "Give it a text, or remove the example.")


def check_label(value: Any, where: str) -> None:
    """Raises Flaw unless `value` can name a class."""
    if value is None:
        raise Flaw(f": {where} is null", "Give it a label, or remove the example.")
    if not isinstance(value, str):
        hint = f'Write labels as strings, such as "{shown(str(value))}".'
        raise Flaw(f": {where} is {kind(value)}", hint)
    if not value or value != value.strip():
        raise Flaw(
            f": {where} is empty or has spaces around it",
            "Labels are compared letter by letter: remove the spaces.",
        )
    if len(value) > LONGEST_LABEL:
        raise Flaw(f": {where} is longer than {LONGEST_LABEL} characters", "Use a shorter name.")


def check_list(value: Any, where: str) -> None:
    """Raises Flaw unless `value` is a list."""
    if not isinstance(value, list):
        raise Flaw(f": {where} is {kind(value)}", "Write a list.")
