"""What a training-file format is to the judge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Facts:
    """What a good row adds to what is known of its file.

    Rows with the same `question` and `answer` are duplicates; with another answer they contradict
    each other, if `conflicts`. `shape` must be the same in all rows of a file. `remark` is what to
    look at, as what follows "In 3 examples".
    """

    question: str
    answer: str
    labels: tuple[str, ...]
    shape: str = ""
    remark: str | None = None
    conflicts: bool = True


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
    claims: Callable[[Mapping[str, Any]], bool]
    check: Callable[[Any], None]
    plain: Callable[[Any], int] = lambda _row: 0
    facts: Callable[[Mapping[str, Any]], Facts] | None = None
    fewest_labels: int = 0
