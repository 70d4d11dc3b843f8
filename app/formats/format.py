"""What a training-file format is to the judge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ExampleFacts:
    """What a good row adds to what is known of its file.

    Rows with the same `question` and `answer` are duplicates; with another answer they contradict
    each other, if `conflicts`. `shape` must be the same in all rows of a file. `remark` is what to
    look at, as what follows "In 3 examples".
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

    `claims` says of an object whether it is meant to be an example of this format. `check` raises
    Flaw for a row that is none, claimed or not. `plain` is the fast way past it: how many strings,
    keys among them, a row has whose every value is good; 0 if that takes a closer look. `facts`
    are of a checked row; None where nothing is to be known of the file as a whole. `fewest_labels`
    are how many a job needs to tell apart; 0 where labels are counted and not learned.
    """

    name: str
    matches: Callable[[Mapping[str, Any]], bool]
    check: Callable[[Any], None]
    fast_check: Callable[[Any], int] = lambda _row: 0
    extract_facts: Callable[[Mapping[str, Any]], ExampleFacts] | None = None
    min_labels: int = 0
