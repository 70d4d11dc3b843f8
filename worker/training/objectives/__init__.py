"""What a method trains for. An objective knows its rows, and the loss of some of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Score:
    """The loss of some rows. `loss` is a sum over `count` things, `correct` of them were right."""

    loss: Tensor
    count: int
    correct: Tensor


class Objective(Protocol[RowT]):
    """The loss, cut into pieces that fit into memory.

    Gradients of all pieces of a batch are summed and divided by the batch's `count`, so that the
    cutting changes nothing but speed and memory.
    """

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]:
        """Cut a batch into micro-batches."""
        ...

    def count(self, rows: Sequence[RowT]) -> int:
        """How many things the loss of `rows` is a sum over."""
        ...

    def tokens(self, rows: Sequence[RowT]) -> int:
        """How many tokens `rows` hold."""
        ...

    def score(self, rows: Sequence[RowT]) -> Score:
        """The loss of one micro-batch, with its graph."""
        ...
