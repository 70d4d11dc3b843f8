"""Rows of a measured file: which a model got wrong, worst first, and how."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from app.console.file_content import FileStart, iterate_rows, parse_rows
from app.console.row_view import MAX_BLOCK_CHARS, cut_list, cut_text

ROWS_PER_PAGE = 20
# Of each of two answers whose words are compared: what 1,024 tokens have.
MAX_COMPARED_CHARS = 4000

T = TypeVar("T")


class RowFilter(StrEnum):
    """Rows of chats to show: by the tuned model's answer beside the file's and the base model's."""

    ALL = "all"
    WRONG = "wrong"
    WORSE = "worse"
    BETTER = "better"


@dataclass(frozen=True, slots=True)
class RowChoice:
    """The rows that a page asks for: answers by `show`, or those of one cell of the confusion
    matrix, by its expected and found label. `page` counts from 1."""

    show: RowFilter
    expected: str | None
    found: str | None
    page: int


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One row. `position` counts the file's rows from 1; `row` is None if the file is gone.

    `expected` and `found` are what the report has: an answer, labels, entities, or a position.
    `base` is the base model's answer to a chat, `confidence` that of a label.
    """

    position: int
    expected: Any
    found: Any
    base: str | None = None
    confidence: float | None = None
    row: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MeasuredPage:
    """A page of rows. `total` counts all that the filter leaves."""

    rows: Sequence[MeasuredRow]
    number: int
    total: int

    @property
    def count(self) -> int:
        return max(1, -(-self.total // ROWS_PER_PAGE))


def select_page(part: Mapping[str, Any], file: FileStart | None, choice: RowChoice) -> MeasuredPage:
    """Select a page of rows of a part of a report, with the contents of those that `file` has.

    For a thread: reads all rows of the file, or compares the words of all answers.
    """
    label = choice.expected
    if "answers" in part:
        number, total, rows = _paginate(select_answers(part["answers"], choice.show), choice.page)
    elif label is not None and label == choice.found:
        # A file may have a million of them.
        right = _list_right(part, file, label)
        number, total, positions = _paginate(right, choice.page)
        rows = [MeasuredRow(position, [label], [label]) for position in positions]
    else:
        wrong = select_wrong(part, choice.expected, choice.found)
        number, total, rows = _paginate(wrong, choice.page)
    contents = parse_rows(file, {row.position for row in rows}) if file else {}
    complete = [replace(row, row=contents.get(row.position)) for row in rows]
    return MeasuredPage(complete, number, total)


def select_answers(answers: Iterable[Mapping[str, Any]], kind: RowFilter) -> list[MeasuredRow]:
    """Select answers to chats, those with the fewest words of the right answer first."""
    scored = []
    for answer in answers:
        reference, tuned, base = answer["reference"], answer["tuned"], answer["base"]
        if kind is RowFilter.WRONG and tuned.strip() == reference.strip():
            continue
        overlap = measure_overlap(tuned, reference)
        if kind in (RowFilter.WORSE, RowFilter.BETTER):
            difference = overlap - measure_overlap(base, reference)
            if (difference >= 0) if kind is RowFilter.WORSE else (difference <= 0):
                continue
        scored.append((overlap, MeasuredRow(answer["row"], reference, tuned, base=base)))
    return [row for _, row in sorted(scored, key=lambda pair: pair[0])]


def select_wrong(
    part: Mapping[str, Any], expected: str | None, found: str | None
) -> list[MeasuredRow]:
    """Select the rows that an encoder got wrong, in the report's order, or those of one cell of
    its confusion matrix."""
    wrong = [
        MeasuredRow(
            item["example"],
            item.get("expected"),
            item["found"],
            confidence=item.get("confidence"),
        )
        for item in part.get("wrong", [])
    ]
    if expected is None or found is None:
        return wrong
    return [row for row in wrong if (row.expected, row.found) == ([expected], [found])]


def _list_right(part: Mapping[str, Any], file: FileStart | None, label: str) -> list[int]:
    wrong = {item["example"] for item in part.get("wrong", [])}
    rows = iterate_rows(file) if file else ()
    return [position for position, row in rows if position not in wrong and _has_label(row, label)]


def _has_label(row: Mapping[str, Any], label: str) -> bool:
    labels = row.get("labels")
    return row.get("label") == label or (isinstance(labels, list) and label in labels)


def _paginate(items: Sequence[T], number: int) -> tuple[int, int, Sequence[T]]:
    """Take a page, the last one if there are fewer; with its number, and the number of all."""
    number = min(number, max(1, -(-len(items) // ROWS_PER_PAGE)))
    return number, len(items), items[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]


def measure_overlap(answer: str, reference: str) -> float:
    """The F1 of words that both texts have, by which rows are ordered. Equal texts have 1.

    Compares the first 4,000 characters of each.
    """
    if answer.strip() == reference.strip():
        return 1.0
    starts = (answer[:MAX_COMPARED_CHARS], reference[:MAX_COMPARED_CHARS])
    words, right = (Counter(re.findall(r"\w+", text.lower())) for text in starts)
    common = sum((words & right).values())
    return 2 * common / max(1, sum(words.values()) + sum(right.values()))


def split_by_spans(text: str, spans: Sequence[Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """Split a text into parts and the labels of those that are spans. Spans do not overlap."""
    parts: list[tuple[str, str | None]] = []
    end = 0
    text = cut_text(text)
    shown, more = cut_list(spans)
    for span in sorted(shown, key=lambda span: (span["start"], span["end"])):
        if span["start"] < end:
            continue
        parts += [
            (text[end : span["start"]], None),
            (text[span["start"] : span["end"]], span["label"]),
        ]
        end = span["end"]
    parts += [(text[end:], None), (f" … {more[0]}", None)] if more else [(text[end:], None)]
    return [part for part in parts if part[0]]


def describe_answer(answer: Any) -> str:
    """An answer, a list of labels, or a position, as the report has it."""
    if isinstance(answer, list):
        shown, more = cut_list(answer)
        answer = ", ".join(map(str, [*shown, *more]))
    return cut_text(str(answer))


def describe_prompt(row: Mapping[str, Any]) -> str:
    """Describe a row's prompt: a text, a question, or the messages before the answer."""
    if isinstance(row.get("messages"), list):
        asked = [message for message in row["messages"][:-1] if message.get("role") != "system"]
        return "\n\n".join(_read_text(message) for message in asked)
    if isinstance(row.get("input"), dict):
        return "\n\n".join(_read_text(message) for message in row["input"].get("messages", []))
    for name in ("question", "text", "anchor", "sentence1", "prompt"):
        if isinstance(row.get(name), str):
            return str(row[name])
    tokens = row.get("tokens")
    # Of these, more than the page shows: each token has a space behind it.
    return " ".join(map(str, tokens[:MAX_BLOCK_CHARS])) if isinstance(tokens, list) else ""


def _read_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
