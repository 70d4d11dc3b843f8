"""Direct preference optimization: learn to give one answer rather than another.

    loss = -log sigmoid(β · ((log π(w|x) - log ref(w|x)) - (log π(l|x) - log ref(l|x))))

for an input x, its preferred answer w and the other one l, where π is the model in training, ref
the model that training starts from (its adapter included, if it has one), and a log-probability is
the sum over the answer's tokens. Equation 7 of Rafailov et al. 2023, "Direct Preference
Optimization: Your Language Model is Secretly a Reward Model", arXiv:2305.18290.

β · (log π - log ref) of an answer is its implicit reward; what is measured are the share of pairs
whose preferred answer has the higher one, and by how much on average.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from app.formats import InvalidTrainingFile, Message, PreferenceExample, iter_examples, preference
from worker.rendering import Renderer, RenderingError
from worker.training.batching import Row, collate, split_by_tokens
from worker.training.errors import user_error
from worker.training.forward import CausalLM
from worker.training.objectives import LossOutput
from worker.training.ref_logprobs import RefLogprobs


@dataclass(frozen=True, slots=True, eq=False)
class PreferencePair:
    """One input with its preferred answer, and the same with the other."""

    chosen: Row
    rejected: Row

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the model."""
        return self.chosen.num_tokens + self.rejected.num_tokens


class DpoObjective:
    """Mean loss of pairs. `max_rows` are pairs at most in a micro-batch."""

    def __init__(
        self,
        scorer: CausalLM,
        device: torch.device,
        reference: RefLogprobs[PreferencePair],
        *,
        beta: float,
        max_tokens: int,
        max_rows: int | None,
    ) -> None:
        self.ref_logprobs = reference
        self._scorer = scorer
        self._device = device
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
        started_at = self.ref_logprobs.get(rows).to(self._device)
        rewards = self._beta * (self.logprobs(rows) - started_at)
        margins = rewards[:, 0] - rewards[:, 1]
        return LossOutput(
            loss=-logsigmoid(margins).sum(),
            num_items=len(rows),
            metrics={
                "reward_accuracy": (margins > 0).sum(),
                "reward_margin": margins.detach().sum(),
            },
        )

    def logprobs(self, rows: Sequence[PreferencePair]) -> Tensor:
        """Of the preferred and the other answer of each pair: [pairs, 2] in float32."""
        answers = [row for pair in rows for row in (pair.chosen, pair.rejected)]
        order = sorted(range(len(answers)), key=lambda place: answers[place].num_tokens)
        by_length = [answers[place] for place in order]
        batch = collate(by_length, self._device, share_prefix=self._scorer.supports_shared_prefix)
        losses, _ = self._scorer.token_nll(batch)
        of_answers = losses.split([len(row.label_positions) for row in by_length])
        sums = torch.stack([of_answer.sum() for of_answer in of_answers])
        back = torch.tensor(np.argsort(order), device=sums.device)
        return -sums[back].view(-1, 2)


def read_pairs(path: Path, renderer: Renderer, *, param: str) -> list[PreferencePair]:
    """The pairs of a preference file that differ in what the model reads of them.

    Raises a user error that names the example if one cannot be rendered, or if no pair is left.
    """
    try:
        pairs = list(_iterate_pairs(path, renderer))
    except (InvalidTrainingFile, RenderingError) as error:
        raise user_error(f"invalid_{param}", str(error), param) from error
    if not pairs:
        raise user_error(
            f"invalid_{param}", _nothing_to_learn_message(renderer.context_length), param
        )
    return pairs


def _iterate_pairs(path: Path, renderer: Renderer) -> Iterator[PreferencePair]:
    for number, example in enumerate(
        iter_examples(path, {"preference": preference.to_example}), start=1
    ):
        try:
            preferred = _build_row(renderer, example, example.chosen)
            other = _build_row(renderer, example, example.rejected)
        except RenderingError as error:
            raise RenderingError(f"Example {number}: {error}") from error
        both_say_something = len(preferred.label_positions) and len(other.label_positions)
        if both_say_something and not np.array_equal(preferred.ids, other.ids):
            yield PreferencePair(preferred, other)


def _build_row(renderer: Renderer, example: PreferenceExample, answer: Message) -> Row:
    """The input and one answer, of which the answer alone is learned."""
    asked = [{**message.to_wire(), "weight": 0} for message in example.messages]
    rendered = renderer.render_example([*asked, answer.to_wire()], example.tools)
    learned = np.flatnonzero(rendered.loss_mask).astype(np.int32)
    return Row(np.array(rendered.ids, dtype=np.int32), learned[learned > 0])


def _nothing_to_learn_message(context_length: int) -> str:
    return (
        "No example has anything to learn: the outputs of each are the same, or are cut off "
        f"(the model reads {context_length} tokens)."
    )
