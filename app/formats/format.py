"""The interface of a training-file format to the validator and the reader."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FormatName(StrEnum):
    """The training-file formats, by the name stored in `files.format`."""

    CHAT = "chat"
    PREFERENCE = "preference"
    COMPLETION = "completion"
    CLASSIFICATION = "classification"
    TOKEN_CLASSIFICATION = "token_classification"
    QUESTION_ANSWERING = "question_answering"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class ExampleFacts:
    """One valid row's contribution to the summary of its file.

    Rows with equal `input` and `target` are duplicates. Rows with equal `input` and different
    `target` contradict each other if `can_conflict`. `shape` names the variant of the format that
    the row is written in; all rows of a file must have the same. `warning` is a clause that
    continues "In 3 example(s)".
    """

    input: str
    target: str
    labels: tuple[str, ...]
    shape: str = ""
    warning: str | None = None
    can_conflict: bool = True


@dataclass(frozen=True, slots=True)
class Format:
    """One format of training files.

    `matches` is a predicate: does an object look like an attempt at this format? `check` raises
    InvalidExample for a row that is not valid, matched or not. `fast_check` is the optional fast
    path around it: the number of strings in a row, keys included, if every value is certainly
    valid, or 0 if `check` has to decide. `extract_facts` takes a checked row; None for formats
    without a summary of rows. `find_warning` gives the warning of a checked row for formats without
    facts. `min_labels` is the number of distinct labels a job needs; 0 where labels are counted but
    not learned.
    """

    name: FormatName
    matches: Callable[[Mapping[str, Any]], bool]
    check: Callable[[Any], None]
    fast_check: Callable[[Any], int] = lambda _row: 0
    extract_facts: Callable[[Mapping[str, Any]], ExampleFacts] | None = None
    find_warning: Callable[[Mapping[str, Any]], str | None] | None = None
    min_labels: int = 0
