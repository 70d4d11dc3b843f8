"""Direct preference optimization (DPO): prefer one answer over another.

    loss = -log sigmoid(β · ((log π(w|x) - log ref(w|x)) - (log π(l|x) - log ref(l|x))))

for an input x, its chosen answer w and its rejected answer l. π is the policy in training, ref the
model that training starts from (including its adapter, if any), and a log-probability is the sum
over the answer's tokens. Equation 7 of Rafailov et al. 2023, "Direct Preference Optimization: Your
Language Model is Secretly a Reward Model", arXiv:2305.18290.

β · (log π - log ref) of an answer is its implicit reward. Two metrics are reported:
`reward_accuracy`, the share of pairs whose chosen answer has the higher reward, and
`reward_margin`, the mean difference of both rewards.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from app.formats import (
    FormatName,
    InvalidTrainingFile,
    iter_examples,
    preference,
)
from app.formats.nothing_learned import describe_nothing_learned
from app.wire.long_rows import LongRowPolicy
from worker.model.rendering import Renderer, RenderingError, TrainingRow
from worker.model.rendering.file_examples import (
    find_labels,
    find_rows_to_compare,
    render_outputs,
    template_warnings,
)
from worker.training.batching import Row, common_prefix_length, split_by_tokens
from worker.training.chat_data import (
    ChatData,
    LongRows,
    ignore_progress,
)
from worker.training.errors import user_error
from worker.training.forward import CausalLM, collate_for
from worker.training.objectives import LossOutput
from worker.training.ref_logprobs import RefLogprobs


@dataclass(frozen=True, slots=True, eq=False)
class PreferencePair:
    """One input with its chosen answer, and the same input with its rejected answer."""

    chosen: Row
    rejected: Row

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the model: those of the input once for both answers."""
        chosen, rejected = self.chosen.num_tokens, self.rejected.num_tokens
        shared = common_prefix_length(self.chosen.ids[:chosen], self.rejected.ids[:rejected])
        return chosen + rejected - shared


class DpoObjective:
    """Mean DPO loss of pairs. `max_rows` limits the pairs of a micro-batch."""

    def __init__(
        self,
        model: CausalLM,
        device: torch.device,
        ref_logprobs: RefLogprobs[PreferencePair],
        *,
        beta: float,
        max_tokens: int,
        max_rows: int | None,
        label_smoothing: float = 0.0,
    ) -> None:
        self._label_smoothing = label_smoothing
        self.ref_logprobs = ref_logprobs
        self.model = model
        self.device = device
        self._beta = beta
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[PreferencePair]) -> Iterable[Sequence[PreferencePair]]:
        return split_by_tokens(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def num_items(self, rows: Sequence[PreferencePair]) -> int:
        return len(rows)

    def num_tokens(self, rows: Sequence[PreferencePair]) -> int:
        return sum(len(pair.chosen.ids) + len(pair.rejected.ids) for pair in rows)

    def compute_loss(self, rows: Sequence[PreferencePair]) -> LossOutput:
        ref_logprobs = self.ref_logprobs.get(rows).to(self.device, non_blocking=True)
        rewards = self._beta * (self.logprobs(rows) - ref_logprobs)
        margins = rewards[:, 0] - rewards[:, 1]
        return LossOutput(
            loss=self._compute_losses(margins).sum(),
            metrics={
                "reward_accuracy": (margins > 0).sum(),
                "reward_margin": margins.detach().sum(),
            },
        )

    def _compute_losses(self, margins: Tensor) -> Tensor:
        """Compute each pair's loss. With label smoothing ε each pair is in the wrong order with
        probability ε (conservative DPO, Mitchell 2023); in training only."""
        smoothing = self._label_smoothing if torch.is_grad_enabled() else 0.0
        return -(1 - smoothing) * logsigmoid(margins) - smoothing * logsigmoid(-margins)

    def logprobs(self, rows: Sequence[PreferencePair]) -> Tensor:
        """Compute log-probabilities of each pair's two answers: [pairs, 2] in float32."""
        answers = [row for pair in rows for row in (pair.chosen, pair.rejected)]
        order = sorted(range(len(answers)), key=lambda index: answers[index].num_tokens)
        by_length = [answers[index] for index in order]
        batch = collate_for(self.model, by_length, self.device)
        token_nll, _ = self.model.token_nll(batch)
        nll_by_answer = token_nll.split([len(row.label_positions) for row in by_length])
        sums = torch.stack([nll.sum() for nll in nll_by_answer])
        inverse_order = torch.from_numpy(np.argsort(order)).to(sums.device, non_blocking=True)
        return -sums[inverse_order].view(-1, 2)


def read_pairs(
    path: Path,
    renderer: Renderer,
    *,
    param: str,
    long_rows: LongRowPolicy = LongRowPolicy.DROP,
    report_progress: Callable[[int], None] = ignore_progress,
) -> ChatData[PreferencePair]:
    """Read a preference file; pairs whose answers are equal to the model are dropped.

    Raises TrainingError if an example cannot be rendered (the error names it), or is too long where
    that is an error, or if no pair is left.
    """
    long = LongRows(long_rows, renderer.context_length)
    try:
        pairs = list(_iterate_pairs(path, renderer, long, report_progress))
    except (InvalidTrainingFile, RenderingError) as error:
        raise user_error(f"invalid_{param}", str(error), param) from error
    long.require_none(param)
    if not pairs:
        message = describe_nothing_learned(FormatName.PREFERENCE, 0, renderer.context_length)
        raise user_error(f"invalid_{param}", message, param)
    return ChatData(pairs, [*long.warnings(param), *template_warnings(renderer)])


def _iterate_pairs(
    path: Path, renderer: Renderer, long: LongRows, report_progress: Callable[[int], None]
) -> Iterator[PreferencePair]:
    for number, example in enumerate(
        iter_examples(path, {FormatName.PREFERENCE: preference.to_example}), start=1
    ):
        try:
            outputs = render_outputs(renderer, example)
        except RenderingError as error:
            raise RenderingError(f"Example {number}: {error}") from error
        report_progress(number)
        long.num_examples = number
        if any(output.num_cut for output in outputs):
            long.add(number, is_left_out=True)
        elif (rows := find_rows_to_compare(outputs)) is not None:
            yield PreferencePair(*map(_to_row, rows))


def _to_row(row: TrainingRow) -> Row:
    return Row(row.ids, find_labels(row))
