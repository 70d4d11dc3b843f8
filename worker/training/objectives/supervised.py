"""Supervised fine-tuning: learn what the assistant says in each chat, or how each text goes on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.formats import ChatExample, InvalidTrainingFile, chat, completion, iter_examples
from app.formats.completion import CompletionExample
from worker.rendering import RenderedExample, Renderer, RenderingError
from worker.training.batching import Row, collate, split_by_tokens
from worker.training.errors import user_error
from worker.training.forward import CausalLM
from worker.training.objectives import LossOutput


class SupervisedObjective:
    """Mean negative log-likelihood of the tokens that are to be learned."""

    def __init__(
        self, scorer: CausalLM, device: torch.device, *, max_tokens: int, max_rows: int | None
    ) -> None:
        self._scorer = scorer
        self._device = device
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
        return split_by_tokens(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def num_items(self, rows: Sequence[Row]) -> int:
        return sum(len(row.label_positions) for row in rows)

    def num_tokens(self, rows: Sequence[Row]) -> int:
        return sum(len(row.ids) for row in rows)

    def compute_loss(self, rows: Sequence[Row]) -> LossOutput:
        batch = collate(rows, self._device, share_prefix=self._scorer.supports_shared_prefix)
        losses, correct = self._scorer.token_nll(batch)
        return LossOutput(loss=losses.sum(), num_items=len(losses), correct=correct.sum())


def read_rows(path: Path, renderer: Renderer, *, param: str) -> list[Row]:
    """The rows of a file of chats or completions that hold something to learn.

    Raises a user error that names the example if a chat cannot be rendered, or if no row is left.
    """
    try:
        rows = list(_iterate_rows(path, renderer))
    except (InvalidTrainingFile, RenderingError) as error:
        raise user_error(f"invalid_{param}", str(error), param) from error
    if not rows:
        raise user_error(
            f"invalid_{param}", _nothing_to_learn_message(renderer.context_length), param
        )
    return rows


def _iterate_rows(path: Path, renderer: Renderer) -> Iterator[Row]:
    readers: Mapping[str, Callable[[dict[str, Any]], ChatExample | CompletionExample]] = {
        "chat": chat.to_example,
        "completion": completion.to_example,
    }
    for number, example in enumerate(iter_examples(path, readers), start=1):
        try:
            rendered = _render(example, renderer)
        except RenderingError as error:
            raise RenderingError(f"Example {number}: {error}") from error
        learned = np.flatnonzero(rendered.loss_mask).astype(np.int32)
        # Nothing stands before the first token from which it could be predicted.
        learned = learned[learned > 0]
        if len(learned):
            yield Row(np.array(rendered.ids, dtype=np.int32), learned)


def _render(example: ChatExample | CompletionExample, renderer: Renderer) -> RenderedExample:
    if isinstance(example, CompletionExample):
        return renderer.render_completion(example.prompt, example.completion)
    return renderer.render_example(
        [message.to_wire() for message in example.messages], example.tools
    )


def _nothing_to_learn_message(context_length: int) -> str:
    return (
        "No example has anything to learn: each is cut off before what is to be learned "
        f"(the model reads {context_length} tokens) or gives all of it weight 0."
    )
