"""Interface and base class of the encoder objectives."""

import copy
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, Self

import torch

from worker.training.encoders.micro_batches import RowT, split_by_padded_tokens
from worker.training.encoders.model import Encoder
from worker.training.objectives import LossOutput
from worker.training.validation import Parts

# Limits of the list of wrong predictions in evaluation.json.
MAX_LISTED_EXAMPLES = 1000
MAX_LISTED_BYTES = 2**20


def list_wrong_examples(wrong: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Report the number of wrong examples and list the first of them, up to a size limit."""
    listed: list[Mapping[str, Any]] = []
    bytes_left = MAX_LISTED_BYTES
    for example in wrong[:MAX_LISTED_EXAMPLES]:
        bytes_left -= len(json.dumps(example, ensure_ascii=False).encode())
        if bytes_left < 0:
            break
        listed.append(example)
    return {"wrong_examples": len(wrong), "wrong": listed}


class EvaluationReport(dict[str, Any]):
    """Content of evaluation.json. Its top-level floats are the metrics."""


class EncoderObjective(Protocol[RowT]):
    """An objective that can also compute its task's standard metrics."""

    encoder: Encoder
    # Name of the metric by which the best weights are chosen; higher is better.
    metric: str
    # Rows of a file from whose outputs `measure` computes metrics, at most: the first ones.
    max_measured_rows: int

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]: ...
    def num_items(self, rows: Sequence[RowT]) -> int: ...
    def num_tokens(self, rows: Sequence[RowT]) -> int: ...
    def compute_loss(self, rows: Sequence[RowT]) -> LossOutput: ...

    def with_examples(self, examples: Sequence[Any]) -> Self:
        """Return the objective for evaluating rows of these examples."""
        ...

    def evaluate(self, rows: Sequence[RowT]) -> EvaluationReport:
        """Compute all metrics of the rows, and list the wrong predictions under `wrong`."""
        ...

    def measure(self, parts: Parts[RowT]) -> EvaluationReport:
        """Compute what `evaluate` does, of the rows and outputs of losses already computed."""
        ...

    def served_inputs(self, rows: Sequence[RowT], examples: Sequence[Any]) -> Sequence[Any]:
        """List what a client would ask about the rows, whose examples are among `examples`."""
        ...

    def score(self, rows: Sequence[RowT], predictions: Any) -> EvaluationReport:
        """Compute the metrics of `predictions`, one for each of `served_inputs`."""
        ...


class LengthGroupedObjective(Generic[RowT]):
    """Base class: micro-batches of rows of similar length."""

    max_measured_rows = sys.maxsize

    # Those that rows belong to, for objectives that evaluate with more than the rows.
    _examples: Sequence[Any] = ()

    def __init__(self, encoder: Encoder, *, max_tokens: int, max_rows: int | None) -> None:
        self.encoder = encoder
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]:
        return split_by_padded_tokens(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def with_examples(self, examples: Sequence[Any]) -> Self:
        other = copy.copy(self)
        other._examples = examples
        return other

    @torch.no_grad()
    def evaluate(self, rows: Sequence[RowT]) -> EvaluationReport:
        return self.measure(
            [(part, self.compute_loss(part).take_outputs()) for part in self.split(rows)]
        )

    def compute_loss(self, rows: Sequence[RowT]) -> LossOutput:
        raise NotImplementedError

    def measure(self, parts: Parts[RowT]) -> EvaluationReport:
        raise NotImplementedError

    def num_tokens(self, rows: Sequence[RowT]) -> int:
        return sum(row.num_tokens for row in rows)
