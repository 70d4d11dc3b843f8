"""Layouts of public datasets, recognized by their columns: not trained on, but convertible."""

import csv
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

CONVERT_HINT = "Convert it with `luthier data convert FILE`, and upload the result."
# Columns of the layouts, in the order in which they are tried.
ALPACA_COLUMNS = (("instruction", "input", "output"), ("instruction", "context", "response"))
PAIR_COLUMNS = (
    ("question", "answer"),
    ("prompt", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("input", "output"),
)
TEXT_COLUMNS = ("text", "sentence", "content", "review", "tweet", "utterance", "comment")
LABEL_COLUMNS = ("label_text", "label", "category", "intent", "sentiment", "emotion", "class")
COLUMN_NAME = re.compile(r"[^\W\d][\w .-]{0,63}")
DELIMITERS = {"\t": "TSV", ",": "CSV", ";": "CSV, with semicolons"}


class Layout(StrEnum):
    """Layouts of rows that `luthier data convert` understands, beside the formats themselves."""

    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    CHOSEN_REJECTED = "chosen_rejected"
    PAIRS = "pairs"
    SQUAD = "squad"
    LABELLED = "labelled"


DESCRIPTIONS: Mapping[Layout, str] = {
    Layout.ALPACA: "Alpaca's layout (instruction, input, output)",
    Layout.SHAREGPT: "ShareGPT's layout (conversations of from and value)",
    Layout.CHOSEN_REJECTED: "the layout of preferences with prompt, chosen and rejected",
    Layout.PAIRS: "a layout of pairs (such as question and answer)",
    Layout.SQUAD: "SQuAD's layout (data, paragraphs, qas)",
    Layout.LABELLED: "a layout of Hugging Face's classification datasets (such as sentence, label)",
}


def detect_layout(row: Any) -> Layout | None:
    """Find the layout of a row that is in none of the formats; None for rows that may be in one."""
    if not isinstance(row, dict):
        return None
    if "conversations" in row:
        return Layout.SHAREGPT
    if "chosen" in row and "rejected" in row:
        return Layout.CHOSEN_REJECTED
    if _is_squad(row):
        return Layout.SQUAD
    if any(row.keys() >= {first, last} for first, _, last in ALPACA_COLUMNS):
        return Layout.ALPACA
    if find_pair_columns(row) is not None:
        return Layout.PAIRS
    if {"text", "label"} <= row.keys() or {"text", "labels"} <= row.keys():
        return None
    text, label = find_labelled_columns(row)
    return Layout.LABELLED if text is not None and label is not None else None


def find_pair_columns(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the columns of a request and its answer, which are both texts."""
    for columns in PAIR_COLUMNS:
        if all(isinstance(row.get(name), str) for name in columns) and "context" not in row:
            return columns
    return None


def find_labelled_columns(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Find the columns of a text and of its label."""
    text = next((name for name in TEXT_COLUMNS if name in row), None)
    return text, next((name for name in LABEL_COLUMNS if name in row), None)


def describe_layout(layout: Layout) -> str:
    """The error message for a file in this layout."""
    return f"The file is in {DESCRIPTIONS[layout]}. {CONVERT_HINT}"


def describe_table(line: str) -> str | None:
    """The error message for a file that begins with this line, if that is the header of a table."""
    delimiter = find_delimiter(line)
    if delimiter is None:
        return None
    columns = ", ".join(read_columns(line, delimiter)[:8])
    return f"The file is {DELIMITERS[delimiter]} with the columns {columns}. {CONVERT_HINT}"


def find_delimiter(line: str) -> str | None:
    """Find the delimiter of a table's header; None if the line is no header."""
    for delimiter in DELIMITERS:
        columns = read_columns(line, delimiter)
        if len(columns) > 1 and all(map(COLUMN_NAME.fullmatch, columns)):
            return delimiter
    return None


def read_columns(line: str, delimiter: str) -> list[str]:
    """Read the names of a table's columns from its header."""
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _is_squad(row: Mapping[str, Any]) -> bool:
    if isinstance(row.get("data"), list) and "messages" not in row:
        return True
    if isinstance(row.get("paragraphs"), list):
        return True
    return {"context", "question"} <= row.keys() and isinstance(row.get("answers"), list)
