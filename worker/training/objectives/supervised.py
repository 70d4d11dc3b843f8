"""Supervised fine-tuning: learn what the assistant says in each chat, or how each text goes on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.formats import ChatExample, FaultyFile, chat, completion, read_as
from app.formats.completion import CompletionExample
from worker.rendering import Rendered, Renderer, RenderingError
from worker.training.batching import Row, lay_out, split
from worker.training.errors import user_error
from worker.training.forward import Scorer
from worker.training.objectives import Score


class Supervised:
    """Mean negative log-likelihood of the tokens that are to be learned."""

    def __init__(
        self, scorer: Scorer, device: torch.device, *, max_tokens: int, max_rows: int | None
    ) -> None:
        self._scorer = scorer
        self._device = device
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
        return split(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def count(self, rows: Sequence[Row]) -> int:
        return sum(len(row.learned) for row in rows)

    def tokens(self, rows: Sequence[Row]) -> int:
        return sum(len(row.ids) for row in rows)

    def score(self, rows: Sequence[Row]) -> Score:
        batch = lay_out(rows, self._device, share=self._scorer.shares_beginnings)
        losses, correct = self._scorer.token_losses(batch)
        return Score(loss=losses.sum(), count=len(losses), correct=correct.sum())


def read_rows(path: Path, renderer: Renderer, *, param: str) -> list[Row]:
    """The rows of a file of chats or completions that hold something to learn.

    Raises a user error that names the example if a chat cannot be rendered, or if no row is left.
    """
    try:
        rows = list(_rows(path, renderer))
    except (FaultyFile, RenderingError) as error:
        raise user_error(f"invalid_{param}", str(error), param) from error
    if not rows:
        raise user_error(f"invalid_{param}", _nothing_to_learn(renderer.context_length), param)
    return rows


def _rows(path: Path, renderer: Renderer) -> Iterator[Row]:
    readers: Mapping[str, Callable[[dict[str, Any]], ChatExample | CompletionExample]] = {
        "chat": chat.example,
        "completion": completion.example,
    }
    for number, example in enumerate(read_as(path, readers), start=1):
        try:
            rendered = _rendered(example, renderer)
        except RenderingError as error:
            raise RenderingError(f"Example {number}: {error}") from error
        learned = np.flatnonzero(rendered.loss_mask).astype(np.int32)
        # Nothing stands before the first token from which it could be predicted.
        learned = learned[learned > 0]
        if len(learned):
            yield Row(np.array(rendered.ids, dtype=np.int32), learned)


def _rendered(example: ChatExample | CompletionExample, renderer: Renderer) -> Rendered:
    if isinstance(example, CompletionExample):
        return renderer.continuation(example.prompt, example.completion)
    return renderer.example([message.to_wire() for message in example.messages], example.tools)


def _nothing_to_learn(context_length: int) -> str:
    return (
        "No example has anything to learn: each is cut off before what is to be learned "
        f"(the model reads {context_length} tokens) or gives all of it weight 0."
    )
