"""All formats, in the order in which they are tried; the first is also the fallback."""

from typing import Any

from app.formats import (
    chat,
    classification,
    completion,
    embedding,
    preference,
    question_answering,
    token_classification,
)
from app.formats.format import Format

FORMATS: tuple[Format, ...] = (
    chat.FORMAT,
    preference.FORMAT,
    completion.FORMAT,
    classification.FORMAT,
    token_classification.FORMAT,
    question_answering.FORMAT,
    embedding.FORMAT,
)


def detect_format(row: Any, formats: tuple[Format, ...]) -> Format | None:
    """Find the first format that matches this row."""
    if not isinstance(row, dict):
        return None
    return next((format for format in formats if format.matches(row)), None)
