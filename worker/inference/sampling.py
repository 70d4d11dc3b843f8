"""From logits to the next token. One sampler per choice; one call for all rows of a step."""

import random
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from worker.inference.messages import Logprobs, SamplingParams

# A temperature below this divides logits into infinities; its limit is the likeliest token.
MIN_TEMPERATURE = 1e-4
# Nearly always the nucleus lies within so many tokens, and finding them is far cheaper than a sort.
NUCLEUS_CANDIDATES = 1024
# What the wire calls "very unlikely", where the logarithm would be -inf, which JSON cannot hold.
MIN_LOGPROB = -9999.0


class NonFiniteLogits(ValueError):
    """The model gave logits that are no numbers."""


class Sampler:
    """The choosing of one choice's tokens: its random numbers and what it has said so far.

    The random numbers depend on the seed and the choice's index alone, never on the other rows of
    the batch, so a seeded request repeats itself in any company.
    """

    def __init__(self, params: SamplingParams, choice: int) -> None:
        self.params = params
        self._random = random.Random(None if params.seed is None else f"{params.seed}/{choice}")
        self._token_counts: Counter[int] = Counter()

    @property
    def is_greedy(self) -> bool:
        return self.params.temperature < MIN_TEMPERATURE or self.params.top_p == 0

    def apply_penalties(self, logits: Tensor) -> None:
        """Apply penalties and bias to one row [vocabulary], in place.

        The formula is OpenAI's: logit -= count · frequency_penalty + (count > 0) ·
        presence_penalty, counts being over the tokens generated so far.
        """
        params = self.params
        if self._token_counts and (params.frequency_penalty or params.presence_penalty):
            counts = torch.tensor(list(self._token_counts.values()), dtype=logits.dtype)
            penalties = counts * params.frequency_penalty + params.presence_penalty
            logits[list(self._token_counts)] -= penalties.to(logits.device)
        if params.logit_bias:
            bias = torch.tensor(list(params.logit_bias.values()), dtype=logits.dtype)
            logits[list(params.logit_bias)] += bias.to(logits.device)

    def draw(self, probabilities: Tensor) -> int:
        """One token of [vocabulary] by the nucleus of mass `top_p`."""
        uniform = self._random.random()
        if self.params.top_p >= 1:
            return _inverse_cdf(probabilities, uniform)
        kept, ids = _nucleus(probabilities, self.params.top_p)
        return int(ids[_inverse_cdf(kept, uniform)])

    def observe(self, token: int) -> None:
        """Remember that `token` was chosen."""
        self._token_counts[token] += 1


def sample(logits: Tensor, samplers: Sequence[Sampler]) -> list[tuple[int, Logprobs | None]]:
    """Choose a token for each row of `logits` [rows, vocabulary], which is used up.

    Raises NotFinite if a row holds NaN.
    """
    logits = _require_finite(logits)
    asked = [row for row, sampler in enumerate(samplers) if sampler.params.top_logprobs is not None]
    reference = dict(zip(asked, torch.log_softmax(logits[asked], dim=-1), strict=True))
    for row, sampler in enumerate(samplers):
        sampler.apply_penalties(logits[row])
    tokens = _sample_tokens(logits, samplers)
    for token, sampler in zip(tokens, samplers, strict=True):
        sampler.observe(token)
    return [
        (
            token,
            _make_logprobs(reference[row], token, sampler.params.top_logprobs or 0)
            if row in reference
            else None,
        )
        for row, (token, sampler) in enumerate(zip(tokens, samplers, strict=True))
    ]


def token_logprobs(logits: Tensor, tokens: Sequence[int], top: int) -> list[Logprobs]:
    """How likely each row of `logits` [tokens, vocabulary] made its token; `top` others beside.

    Raises NotFinite if a row holds NaN.
    """
    reference = torch.log_softmax(_require_finite(logits), dim=-1)
    return [_make_logprobs(row, token, top) for row, token in zip(reference, tokens, strict=True)]


def _require_finite(logits: Tensor) -> Tensor:
    logits = logits.float()
    if bool(logits.isnan().any()):
        raise NonFiniteLogits("the model's output is not a number")
    return logits


def _sample_tokens(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    warm = [row for row, sampler in enumerate(samplers) if not sampler.is_greedy]
    if not warm:
        return tokens
    temperatures = torch.tensor([samplers[row].params.temperature for row in warm])
    scaled = logits[warm] / temperatures.to(logits.device)[:, None]
    for row, probabilities in zip(warm, torch.softmax(scaled, dim=-1), strict=True):
        tokens[row] = samplers[row].draw(probabilities)
    return tokens


def _inverse_cdf(probabilities: Tensor, uniform: float) -> int:
    """The index at which the running sum passes `uniform` of the whole."""
    running = probabilities.cumsum(dim=-1)
    index = int(torch.searchsorted(running, running[-1] * uniform, right=True))
    # Rounding may put `uniform` of the whole onto the whole itself.
    return min(index, len(probabilities) - 1)


def _nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest likeliest tokens that hold `top_p`: their probabilities and ids, sorted."""
    size = min(NUCLEUS_CANDIDATES, len(probabilities))
    kept, ids = probabilities.topk(size)
    if float(kept.sum()) < top_p:
        kept, ids = probabilities.sort(descending=True)
    before = kept.cumsum(dim=-1) - kept
    count = max(int((before < top_p).sum()), 1)
    return kept[:count], ids[:count]


def _make_logprobs(reference: Tensor, token: int, top: int) -> Logprobs:
    values, ids = reference.topk(top)
    likeliest = zip(ids.tolist(), values.clamp(min=MIN_LOGPROB).tolist(), strict=True)
    return Logprobs(max(float(reference[token]), MIN_LOGPROB), tuple(likeliest))
