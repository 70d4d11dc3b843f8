"""The formats there are, the first being the one that a row of no format is taken for."""

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
    """The format that claims this row."""
    if not isinstance(row, dict):
        return None
    return next((format for format in formats if format.matches(row)), None)
