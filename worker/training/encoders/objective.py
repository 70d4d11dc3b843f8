"""What the objectives of all encoders' methods have in common."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol

import torch

from worker.training.encoders.model import Encoder
from worker.training.encoders.rows import RowT, TextRow, split_by_padded_tokens
from worker.training.objectives import LossOutput

# Of the rows that the model gets wrong, so many are listed, in so many bytes of JSON.
MAX_LISTED_EXAMPLES = 1000
MAX_LISTED_BYTES = 2**20


def list_wrong_examples(wrong: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows that went wrong, as a report has them: how many, and the first of them."""
    shown: list[Mapping[str, Any]] = []
    left = MAX_LISTED_BYTES
    for one in wrong[:MAX_LISTED_EXAMPLES]:
        left -= len(json.dumps(one, ensure_ascii=False).encode())
        if left < 0:
            break
        shown.append(one)
    return {"wrong_examples": len(wrong), "wrong": shown}


class EvaluationReport(dict[str, Any]):
    """What evaluation.json holds; its plain numbers are metrics."""


class EncoderObjective(Protocol[RowT]):
    """An objective that can also measure itself as people do."""

    # The number that the best weights are chosen by.
    metric: str

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]: ...
    def num_items(self, rows: Sequence[RowT]) -> int: ...
    def num_tokens(self, rows: Sequence[RowT]) -> int: ...
    def compute_loss(self, rows: Sequence[RowT]) -> LossOutput: ...

    def evaluate(self, rows: Sequence[RowT]) -> EvaluationReport:
        """All about the rows of a validation file, with those that went wrong under `wrong`."""
        ...


class LengthGroupedObjective(Generic[RowT]):
    """Rows by their length, in pieces that fit into memory."""

    def __init__(self, encoder: Encoder, *, max_tokens: int, max_rows: int | None) -> None:
        self.encoder = encoder
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]:
        return split_by_padded_tokens(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def num_tokens(self, rows: Sequence[RowT]) -> int:
        return sum(row.num_tokens for row in rows)


def as_tensor(rows: Sequence[TextRow], device: torch.device) -> torch.Tensor:
    """The rows' targets, one behind the other."""
    return torch.cat([torch.from_numpy(row.target) for row in rows]).to(device)
