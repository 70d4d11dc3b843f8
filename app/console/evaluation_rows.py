"""Rows of a measured file: which a model got wrong, worst first, and how."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.console.file_content import parse_rows

ROWS_PER_PAGE = 20


class RowFilter(StrEnum):
    """Rows of chats to show: by the tuned model's answer beside the file's and the base model's."""

    ALL = "all"
    WRONG = "wrong"
    WORSE = "worse"
    BETTER = "better"


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
class RowPage:
    """A page of rows. `total` counts all that the filter leaves."""

    rows: Sequence[MeasuredRow]
    number: int
    total: int

    @property
    def count(self) -> int:
        return max(1, -(-self.total // ROWS_PER_PAGE))


def select_answers(answers: Iterable[Mapping[str, Any]], kind: RowFilter) -> list[MeasuredRow]:
    """Select answers to chats, those with the fewest words of the right answer first."""
    scored = []
    for answer in answers:
        tuned = measure_overlap(answer["tuned"], answer["reference"])
        base = measure_overlap(answer["base"], answer["reference"])
        is_shown = {
            RowFilter.ALL: True,
            RowFilter.WRONG: answer["tuned"].strip() != answer["reference"].strip(),
            RowFilter.WORSE: tuned < base,
            RowFilter.BETTER: tuned > base,
        }[kind]
        if is_shown:
            row = MeasuredRow(
                answer["row"], answer["reference"], answer["tuned"], base=answer["base"]
            )
            scored.append((tuned, row))
    return [row for _, row in sorted(scored, key=lambda pair: pair[0])]


def select_wrong(
    part: Mapping[str, Any], lines: list[bytes], expected: str | None, found: str | None
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
    if expected != found:
        return [row for row in wrong if (row.expected, row.found) == ([expected], [found])]
    return _list_right(lines, {row.position for row in wrong}, expected)


def _list_right(lines: list[bytes], wrong: set[int], label: str) -> list[MeasuredRow]:
    rows = parse_rows(lines, range(1, len(lines) + 1))
    return [
        MeasuredRow(position, [label], [label])
        for position, row in rows.items()
        if position not in wrong and label in (row.get("label"), *(row.get("labels") or ()))
    ]


def take_page(rows: Sequence[MeasuredRow], number: int, lines: list[bytes]) -> RowPage:
    """Take one page of rows, with the contents of those that the file still has."""
    number = min(number, max(1, -(-len(rows) // ROWS_PER_PAGE)))
    shown = rows[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]
    contents = parse_rows(lines, (row.position for row in shown))
    complete = [
        MeasuredRow(
            row.position,
            row.expected,
            row.found,
            base=row.base,
            confidence=row.confidence,
            row=contents.get(row.position),
        )
        for row in shown
    ]
    return RowPage(complete, number, len(rows))


def measure_overlap(answer: str, reference: str) -> float:
    """The F1 of words that both texts have, by which rows are ordered. Equal texts have 1."""
    if answer.strip() == reference.strip():
        return 1.0
    words, right = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, reference))
    common = sum((words & right).values())
    return 2 * common / max(1, sum(words.values()) + sum(right.values()))


def split_by_spans(text: str, spans: Iterable[Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """Split a text into parts and the labels of those that are spans. Spans do not overlap."""
    parts: list[tuple[str, str | None]] = []
    end = 0
    for span in sorted(spans, key=lambda span: (span["start"], span["end"])):
        if span["start"] < end:
            continue
        parts += [
            (text[end : span["start"]], None),
            (text[span["start"] : span["end"]], span["label"]),
        ]
        end = span["end"]
    parts.append((text[end:], None))
    return [part for part in parts if part[0]]


def describe_prompt(row: Mapping[str, Any]) -> str:
    """What the model was asked in a row: a text, a question, or the messages before the answer."""
    if isinstance(row.get("messages"), list):
        asked = [message for message in row["messages"][:-1] if message.get("role") != "system"]
        return "\n\n".join(_read_text(message) for message in asked)
    if isinstance(row.get("input"), dict):
        return "\n\n".join(_read_text(message) for message in row["input"].get("messages", []))
    for name in ("question", "text", "anchor", "sentence1", "prompt"):
        if isinstance(row.get(name), str):
            return str(row[name])
    tokens = row.get("tokens")
    return " ".join(map(str, tokens)) if isinstance(tokens, list) else ""


def _read_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
