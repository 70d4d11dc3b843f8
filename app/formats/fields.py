"""Checks of fields that several formats share."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.formats.errors import (
    ErrorCode,
    InvalidExample,
    escape_for_message,
    json_type_name,
    reject_unknown_keys,
)

# Allowed in every row for the owner's own use, and ignored.
IGNORED_KEYS = ("id", "metadata")
# A longer label is most likely a text in the wrong field.
MAX_LABEL_LENGTH = 256


def check_keys(
    row: Any, required: Iterable[str], optional: Iterable[str] = (), *, hint: str
) -> None:
    """Raise InvalidExample unless `row` is an object with the required keys and no unknown ones."""
    if not isinstance(row, dict):
        raise InvalidExample(
            f" is {json_type_name(row)}, not an object",
            hint,
            code=ErrorCode.INVALID_TRAINING_FILE,
        )
    for key in required:
        if key not in row:
            raise InvalidExample(f" is missing key '{key}'", hint)
    reject_unknown_keys(row, (*required, *optional, *IGNORED_KEYS), "An example")


def check_text(row: Mapping[str, Any], key: str) -> None:
    """Raise InvalidExample unless the field is a text that is not blank."""
    value = row[key]
    if not isinstance(value, str):
        raise InvalidExample(f": {key} is {json_type_name(value)}", "Write a string.")
    if not value.strip():
        raise InvalidExample(f": {key} is empty", "Give it a text, or remove the example.")


def check_label(value: Any, name: str) -> None:
    """Raise InvalidExample unless `value` can be the name of a class."""
    if value is None:
        raise InvalidExample(f": {name} is null", "Give it a label, or remove the example.")
    if not isinstance(value, str):
        hint = f'Write labels as strings, such as "{escape_for_message(str(value))}".'
        raise InvalidExample(f": {name} is {json_type_name(value)}", hint)
    if not value or value != value.strip():
        raise InvalidExample(
            f": {name} is empty or has spaces around it",
            "Labels are compared exactly: remove the spaces.",
        )
    if len(value) > MAX_LABEL_LENGTH:
        raise InvalidExample(
            f": {name} is longer than {MAX_LABEL_LENGTH} characters", "Use a shorter name."
        )


def check_list(value: Any, name: str) -> None:
    """Raise InvalidExample unless `value` is a list."""
    if not isinstance(value, list):
        raise InvalidExample(f": {name} is {json_type_name(value)}", "Write a list.")
