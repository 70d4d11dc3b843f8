"""What a method trains for. An objective knows its rows, and the loss of some of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from torch import Tensor

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class LossOutput:
    """The loss of some rows: a sum over `count` things, of which `correct` were right.

    `correct` is None where there is no right or wrong. `measures` are further sums over the same
    things, without a graph, by the names under which their means are told.
    """

    loss: Tensor
    num_items: int
    correct: Tensor | None = None
    metrics: Mapping[str, Tensor] = field(default_factory=dict)

    def to_sums(self) -> dict[str, float]:
        """All of it as numbers."""
        right = {} if self.correct is None else {"mean_token_accuracy": self.correct}
        return {
            "loss": self.loss.item(),
            **{name: value.item() for name, value in {**right, **self.metrics}.items()},
        }


def mean_metrics(
    parts: Sequence[Mapping[str, float]], num_items: int, prefix: str
) -> dict[str, float]:
    """Sums of the parts of a batch as means over all of its `count` things."""
    names = parts[0] if parts else ()
    return {f"{prefix}_{name}": sum(part[name] for part in parts) / num_items for name in names}


class Objective(Protocol[RowT]):
    """The loss, cut into pieces that fit into memory.

    Gradients of all pieces of a batch are summed and divided by the batch's `count`, so that the
    cutting changes nothing but speed and memory.
    """

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]:
        """Cut a batch into micro-batches."""
        ...

    def num_items(self, rows: Sequence[RowT]) -> int:
        """How many things the loss of `rows` is a sum over."""
        ...

    def num_tokens(self, rows: Sequence[RowT]) -> int:
        """How many tokens `rows` hold."""
        ...

    def compute_loss(self, rows: Sequence[RowT]) -> LossOutput:
        """The loss of one micro-batch, with its graph."""
        ...
