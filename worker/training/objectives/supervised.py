"""Supervised fine-tuning: learn the assistant's messages of chats, or the completions of texts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from app.formats import (
    ChatExample,
    FormatName,
    InvalidTrainingFile,
    chat,
    completion,
    iter_examples,
)
from app.formats.completion import CompletionExample
from app.formats.nothing_learned import describe_nothing_learned
from app.wire.long_rows import LongRowPolicy
from worker.model.rendering import Renderer, RenderingError
from worker.model.rendering.file_examples import (
    apply_policy,
    find_labels,
    is_too_long,
    render_text_or_chat,
    template_warnings,
)
from worker.training.batching import Row, split_by_tokens
from worker.training.chat_data import (
    ChatData,
    LongRows,
    TurnCount,
    ignore_progress,
)
from worker.training.errors import user_error
from worker.training.forward import CausalLM, collate_for
from worker.training.objectives import LossOutput


class SupervisedObjective:
    """Mean negative log-likelihood of the label tokens; smoothed in training only, so that
    validation losses compare."""

    def __init__(
        self,
        model: CausalLM,
        device: torch.device,
        *,
        max_tokens: int,
        max_rows: int | None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.model = model
        self._label_smoothing = label_smoothing
        self.device = device
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
        return split_by_tokens(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def num_items(self, rows: Sequence[Row]) -> int:
        return sum(len(row.label_positions) for row in rows)

    def num_tokens(self, rows: Sequence[Row]) -> int:
        return sum(len(row.ids) for row in rows)

    def compute_loss(self, rows: Sequence[Row]) -> LossOutput:
        batch = collate_for(self.model, rows, self.device)
        smoothing = self._label_smoothing if torch.is_grad_enabled() else 0.0
        token_nll, correct = self.model.token_nll(batch, label_smoothing=smoothing)
        return LossOutput(loss=token_nll.sum(), correct=correct.sum())


def read_rows(
    path: Path,
    renderer: Renderer,
    *,
    param: str,
    long_rows: LongRowPolicy = LongRowPolicy.TRUNCATE,
    report_progress: Callable[[int], None] = ignore_progress,
) -> ChatData[Row]:
    """Read a file of chats or completions; rows without label tokens are dropped.

    Raises TrainingError if an example cannot be rendered (the error names it), or is too long where
    that is an error, or if no row is left.
    """
    turns = TurnCount()
    long = LongRows(long_rows, renderer.context_length)
    try:
        rows = list(_iterate_rows(path, renderer, turns, long, report_progress))
    except (InvalidTrainingFile, RenderingError) as error:
        raise user_error(f"invalid_{param}", str(error), param) from error
    long.require_none(param)
    if not rows:
        format = FormatName.CHAT if turns.num_turns else FormatName.COMPLETION
        message = describe_nothing_learned(
            format,
            turns.num_turns,
            renderer.context_length,
            drops_long_rows=long_rows == LongRowPolicy.DROP,
        )
        raise user_error(f"invalid_{param}", message, param)
    turn_warnings = turns.warnings(param.replace("_", " "), renderer.context_length)
    if turns.num_turns:
        turn_warnings += template_warnings(renderer)
    return ChatData(rows, [*long.warnings(param), *turn_warnings])


def _iterate_rows(
    path: Path,
    renderer: Renderer,
    turns: TurnCount,
    long: LongRows,
    report_progress: Callable[[int], None],
) -> Iterator[Row]:
    readers: Mapping[FormatName, Callable[[dict[str, Any]], ChatExample | CompletionExample]] = {
        FormatName.CHAT: chat.to_example,
        FormatName.COMPLETION: completion.to_example,
    }
    for number, example in enumerate(iter_examples(path, readers), start=1):
        try:
            rendered = render_text_or_chat(renderer, example)
        except RenderingError as error:
            raise RenderingError(f"Example {number}: {error}") from error
        report_progress(number)
        long.num_examples = number
        if is_too_long(rendered):
            rendered = apply_policy(rendered, long.policy)
            long.add(number, is_left_out=not rendered.rows)
        turns.add(number, rendered)
        for row in rendered.rows:
            label_positions = find_labels(row)
            if len(label_positions):
                yield Row(row.ids, label_positions)
