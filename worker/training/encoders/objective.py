"""What the objectives of all encoders' methods have in common."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol

import torch

from worker.training.encoders.model import Encoder
from worker.training.encoders.rows import Row, RowT, split
from worker.training.objectives import Score

# Of the rows that the model gets wrong, so many are listed, in so many bytes of JSON.
MOST_LISTED = 1000
MOST_BYTES = 2**20


def listed(wrong: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows that went wrong, as a report has them: how many, and the first of them."""
    shown: list[Mapping[str, Any]] = []
    left = MOST_BYTES
    for one in wrong[:MOST_LISTED]:
        left -= len(json.dumps(one, ensure_ascii=False).encode())
        if left < 0:
            break
        shown.append(one)
    return {"wrong_examples": len(wrong), "wrong": shown}


class Report(dict[str, Any]):
    """What evaluation.json holds; its plain numbers are metrics."""


class TaskObjective(Protocol[RowT]):
    """An objective that can also measure itself as people do."""

    # The number that the best weights are chosen by.
    metric: str

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]: ...
    def count(self, rows: Sequence[RowT]) -> int: ...
    def tokens(self, rows: Sequence[RowT]) -> int: ...
    def score(self, rows: Sequence[RowT]) -> Score: ...

    def evaluate(self, rows: Sequence[RowT]) -> Report:
        """All about the rows of a validation file, with those that went wrong under `wrong`."""
        ...


class Batches(Generic[RowT]):
    """Rows by their length, in pieces that fit into memory."""

    def __init__(self, encoder: Encoder, *, max_tokens: int, max_rows: int | None) -> None:
        self.encoder = encoder
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[RowT]) -> Iterable[Sequence[RowT]]:
        return split(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def tokens(self, rows: Sequence[RowT]) -> int:
        return sum(row.size for row in rows)


def as_tensor(rows: Sequence[Row], device: torch.device) -> torch.Tensor:
    """The rows' targets, one behind the other."""
    return torch.cat([torch.from_numpy(row.target) for row in rows]).to(device)
