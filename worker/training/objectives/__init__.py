"""Training objectives. An objective knows its rows and computes their loss."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from torch import Tensor

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class LossOutput:
    """Loss of some rows: a sum over their items (tokens, rows or pairs).

    `correct` is the number of items predicted correctly, or None where that is undefined.
    `metrics` are further sums over the same items, without a graph; their means are reported under
    these names. `outputs` of the model, without a graph, are for metrics of the method's own; None
    if it has none.
    """

    loss: Tensor
    correct: Tensor | None = None
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: Tensor | None = None

    def take_outputs(self) -> Tensor | None:
        """Copy the outputs into the host's memory, where those of a whole file have room."""
        return None if self.outputs is None else self.outputs.cpu()

    def to_sums(self) -> dict[str, Tensor]:
        """List loss, accuracy and metrics as sums, on the device: nothing waits for it."""
        accuracy = {} if self.correct is None else {"mean_token_accuracy": self.correct}
        return {"loss": self.loss.detach(), **accuracy, **self.metrics}


def mean_metrics(sums: Mapping[str, float], num_items: int, prefix: str) -> dict[str, float]:
    """Average the sums of a batch over all of its `num_items` items."""
    return {f"{prefix}_{name}": value / num_items for name, value in sums.items()}


class Objective(Protocol[RowT]):
    """A loss computed by gradient accumulation over micro-batches that fit into memory.

    The gradients of all micro-batches are summed and divided by the batch's `num_items`, so the
    size of the micro-batches affects only speed, memory and rounding.
    """

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]:
        """Split a batch into micro-batches."""
        ...

    def num_items(self, rows: Sequence[RowT]) -> int:
        """Number of items that the loss of `rows` is a sum over."""
        ...

    def num_tokens(self, rows: Sequence[RowT]) -> int:
        """Number of tokens in `rows`."""
        ...

    def compute_loss(self, rows: Sequence[RowT]) -> LossOutput:
        """Compute the loss of one micro-batch, with its autograd graph."""
        ...
