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

from app.formats import FaultyFile, Message, PreferenceExample, preference, read_as
from worker.rendering import Renderer, RenderingError
from worker.training.batching import Row, lay_out, split
from worker.training.errors import user_error
from worker.training.forward import Scorer
from worker.training.objectives import Score
from worker.training.ref_logprobs import Reference


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One input with its preferred answer, and the same with the other."""

    preferred: Row
    other: Row

    @property
    def needed(self) -> int:
        """Tokens that go through the model."""
        return self.preferred.needed + self.other.needed


class DirectPreference:
    """Mean loss of pairs. `max_rows` are pairs at most in a micro-batch."""

    def __init__(
        self,
        scorer: Scorer,
        device: torch.device,
        reference: Reference[Pair],
        *,
        beta: float,
        max_tokens: int,
        max_rows: int | None,
    ) -> None:
        self.reference = reference
        self._scorer = scorer
        self._device = device
        self._beta = beta
        self._max_tokens = max_tokens
        self._max_rows = max_rows

    def split(self, rows: Sequence[Pair]) -> Iterable[Sequence[Pair]]:
        return split(rows, max_tokens=self._max_tokens, max_rows=self._max_rows)

    def count(self, rows: Sequence[Pair]) -> int:
        return len(rows)

    def tokens(self, rows: Sequence[Pair]) -> int:
        return sum(len(pair.preferred.ids) + len(pair.other.ids) for pair in rows)

    def score(self, rows: Sequence[Pair]) -> Score:
        started_at = self.reference.of(rows).to(self._device)
        rewards = self._beta * (self.log_probabilities(rows) - started_at)
        margins = rewards[:, 0] - rewards[:, 1]
        return Score(
            loss=-logsigmoid(margins).sum(),
            count=len(rows),
            measures={
                "reward_accuracy": (margins > 0).sum(),
                "reward_margin": margins.detach().sum(),
            },
        )

    def log_probabilities(self, rows: Sequence[Pair]) -> Tensor:
        """Of the preferred and the other answer of each pair: [pairs, 2] in float32."""
        answers = [row for pair in rows for row in (pair.preferred, pair.other)]
        order = sorted(range(len(answers)), key=lambda place: answers[place].needed)
        by_length = [answers[place] for place in order]
        batch = lay_out(by_length, self._device, share=self._scorer.shares_beginnings)
        losses, _ = self._scorer.token_losses(batch)
        of_answers = losses.split([len(row.learned) for row in by_length])
        sums = torch.stack([of_answer.sum() for of_answer in of_answers])
        back = torch.tensor(np.argsort(order), device=sums.device)
        return -sums[back].view(-1, 2)


def read_pairs(path: Path, renderer: Renderer, *, param: str) -> list[Pair]:
    """The pairs of a preference file that differ in what the model reads of them.

    Raises a user error that names the example if one cannot be rendered, or if no pair is left.
    """
    try:
        pairs = list(_pairs(path, renderer))
    except (FaultyFile, RenderingError) as error:
        raise user_error(f"invalid_{param}", str(error), param) from error
    if not pairs:
        raise user_error(f"invalid_{param}", _nothing_to_learn(renderer.context_length), param)
    return pairs


def _pairs(path: Path, renderer: Renderer) -> Iterator[Pair]:
    for number, example in enumerate(read_as(path, {"preference": preference.example}), start=1):
        try:
            preferred = _row(renderer, example, example.preferred)
            other = _row(renderer, example, example.non_preferred)
        except RenderingError as error:
            raise RenderingError(f"Example {number}: {error}") from error
        both_say_something = len(preferred.learned) and len(other.learned)
        if both_say_something and not np.array_equal(preferred.ids, other.ids):
            yield Pair(preferred, other)


def _row(renderer: Renderer, example: PreferenceExample, answer: Message) -> Row:
    """The input and one answer, of which the answer alone is learned."""
    asked = [{**message.to_wire(), "weight": 0} for message in example.messages]
    rendered = renderer.example([*asked, answer.to_wire()], example.tools)
    learned = np.flatnonzero(rendered.loss_mask).astype(np.int32)
    return Row(np.array(rendered.ids, dtype=np.int32), learned[learned > 0])


def _nothing_to_learn(context_length: int) -> str:
    return (
        "No example has anything to learn: the outputs of each are the same, or are cut off "
        f"(the model reads {context_length} tokens)."
    )
