"""What a training-file format is to the judge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Format:
    """One format of training files.

    `claims` says of an object whether it is meant to be an example of this format. `check` raises
    Flaw for a row that is none, claimed or not. `plain` is the fast way past it: how many strings,
    keys among them, a row has whose every value is good; 0 if that takes a closer look.
    """

    name: str
    claims: Callable[[Mapping[str, Any]], bool]
    check: Callable[[Any], None]
    plain: Callable[[Any], int] = lambda _row: 0
