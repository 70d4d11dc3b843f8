"""Token sampling: one `Sampler` per choice, one `sample` call per step."""

import random
from collections.abc import Mapping, Sequence
from time import thread_time

import torch
from torch import Tensor

from worker.inference.messages import Logprobs, SamplingParams

# Below this temperature scaled logits overflow; sampling becomes greedy, which is the limit.
MIN_TEMPERATURE = 1e-4
# The nucleus nearly always lies within this many top tokens; top-k is far cheaper than a sort.
NUCLEUS_CANDIDATES = 1024
# OpenAI's value for "very unlikely", in place of -inf, which JSON cannot represent.
MIN_LOGPROB = -9999.0


class NonFiniteLogits(ValueError):
    """The model's logits contain NaN."""


class Sampler:
    """Sampling state of one choice: its random generator and the counts of its tokens.

    The random numbers depend on seed and choice index only, never on the rest of the batch, so a
    seeded request is reproducible in any batch.
    """

    def __init__(self, params: SamplingParams, choice: int, prompt: Sequence[int] = ()) -> None:
        self.params = params
        self._prompt = prompt
        self._random = random.Random(None if params.seed is None else f"{params.seed}/{choice}")
        # Occurrences of each token of the vocabulary, and the bias of each; made at the first step.
        # Built anew in each step, the counts would take quadratic time over a generation.
        self._token_counts: Tensor | None = None
        # Tokens of the prompt and of the choice, which a repetition penalty is for.
        self._repeated: Tensor | None = None
        self._bias: Tensor | None = None
        self._grammar = None if params.grammar is None else params.grammar.start()
        self._limits: Tensor | None = None
        # Processor time that the grammar took for the last token, for which its project pays.
        self.grammar_seconds = 0.0

    @property
    def is_complete(self) -> bool:
        """True if the choice has a grammar by which nothing can follow."""
        return self._grammar is not None and self._grammar.is_complete

    @property
    def is_greedy(self) -> bool:
        return self.params.temperature < MIN_TEMPERATURE or self.params.top_p == 0

    def prepare(self, vocab_size: int) -> None:
        """Compute which tokens the grammar allows next, if there is one.

        Raises GrammarDeadEnd if it allows none.
        """
        if self._grammar is not None:
            started = thread_time()
            self._limits = self._grammar.logit_limits(vocab_size)
            self.grammar_seconds = thread_time() - started

    def apply_grammar(self, logits: Tensor) -> None:
        """Rule out what the grammar does not allow in one row of logits [vocabulary], in place."""
        if self._limits is not None:
            torch.minimum(logits, self._limits[: len(logits)].to(logits.device), out=logits)

    def apply_penalties(self, logits: Tensor) -> None:
        """Apply penalties and logit bias to one row of logits [vocabulary], in place.

        OpenAI's formula: logit -= count · frequency_penalty + (count > 0) · presence_penalty,
        where `count` is the number of times the choice has generated the token. Before it the
        repetition penalty of transformers, which counts the prompt's tokens too.
        """
        params = self.params
        if params.repetition_penalty != 1:
            if self._repeated is None:
                self._repeated = _mark(self._prompt, logits)
            _penalize_repetition(logits, self._repeated, params.repetition_penalty)
        if params.frequency_penalty or params.presence_penalty:
            if self._token_counts is None:
                self._token_counts = torch.zeros_like(logits)
            counts = self._token_counts
            logits -= counts * params.frequency_penalty + (counts > 0) * params.presence_penalty
        if params.logit_bias:
            if self._bias is None:
                self._bias = _to_dense(params.logit_bias, logits)
            logits += self._bias

    def draw(self, probabilities: Tensor) -> int:
        """Draw a token from probabilities [vocabulary] by top-k, then nucleus (top-p) sampling."""
        uniform = self._random.random()
        top_k, top_p = self.params.top_k, self.params.top_p
        if top_k is not None and top_k < len(probabilities):
            kept, ids = probabilities.topk(top_k)
            # The nucleus is one of what top-k has kept, as in transformers.
            count = _count_nucleus(kept / kept.sum(), top_p)
            return int(ids[_inverse_cdf(kept[:count], uniform)])
        if top_p >= 1:
            return _inverse_cdf(probabilities, uniform)
        kept, ids = _nucleus(probabilities, top_p)
        return int(ids[_inverse_cdf(kept, uniform)])

    def observe(self, token: int) -> None:
        """Count a generated token, if there is a penalty for it, and follow the grammar."""
        if self._grammar is not None:
            started = thread_time()
            self._grammar.advance(token)
            self.grammar_seconds += thread_time() - started
            self._limits = None
        if self._token_counts is not None:
            self._token_counts[token] += 1
        if self._repeated is not None:
            self._repeated[token] = True


def sample(logits: Tensor, samplers: Sequence[Sampler]) -> list[tuple[int, Logprobs | None]]:
    """Sample a token for each row of `logits` [rows, vocabulary], which are modified.

    Raises NonFiniteLogits if a row contains NaN.
    """
    logits = _require_finite(logits)
    rows = [row for row, sampler in enumerate(samplers) if sampler.params.top_logprobs is not None]
    log_probabilities = dict(zip(rows, torch.log_softmax(logits[rows], dim=-1), strict=True))
    for row, sampler in enumerate(samplers):
        sampler.apply_penalties(logits[row])
        # Last, so that no bias allows what the grammar does not.
        sampler.apply_grammar(logits[row])
    tokens = _sample_tokens(logits, samplers)
    for token, sampler in zip(tokens, samplers, strict=True):
        sampler.observe(token)
    return [
        (
            token,
            _make_logprobs(log_probabilities[row], token, sampler.params.top_logprobs or 0)
            if row in log_probabilities
            else None,
        )
        for row, (token, sampler) in enumerate(zip(tokens, samplers, strict=True))
    ]


def token_logprobs(logits: Tensor, tokens: Sequence[int], top: int) -> list[Logprobs]:
    """Compute the tokens' log-probabilities from `logits` [tokens, vocabulary], with `top` others.

    Raises NonFiniteLogits if a row contains NaN.
    """
    rows = torch.log_softmax(_require_finite(logits), dim=-1)
    return [_make_logprobs(row, token, top) for row, token in zip(rows, tokens, strict=True)]


def _require_finite(logits: Tensor) -> Tensor:
    logits = logits.float()
    # The maximum of numbers and NaN is NaN; it takes a tenth of the time of comparing each.
    if logits.numel() and bool(logits.amax().isnan()):
        raise NonFiniteLogits("the model's output contains NaN")
    return logits


def _sample_tokens(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    tokens = _argmax(logits)
    sampled_rows = [row for row, sampler in enumerate(samplers) if not sampler.is_greedy]
    if not sampled_rows:
        return tokens
    temperatures = torch.tensor([samplers[row].params.temperature for row in sampled_rows])
    scaled = logits[sampled_rows] / temperatures.to(logits.device)[:, None]
    for row, probabilities in zip(sampled_rows, torch.softmax(scaled, dim=-1), strict=True):
        tokens[row] = samplers[row].draw(probabilities)
    return tokens


def _argmax(logits: Tensor) -> list[int]:
    """Find the first of the highest logits of each row."""
    if logits.device.type == "cpu":
        # NumPy's is vectorized.
        tokens: list[int] = logits.numpy().argmax(axis=-1).tolist()
    else:
        tokens = logits.argmax(dim=-1).tolist()
    return tokens


def _inverse_cdf(probabilities: Tensor, uniform: float) -> int:
    """Inverse transform sampling: the index where the CDF passes `uniform` of its total."""
    cumulative = probabilities.cumsum(dim=-1)
    index = int(torch.searchsorted(cumulative, cumulative[-1] * uniform, right=True))
    if index == len(probabilities):
        # Rounding has put `uniform` of the total onto the total itself: the last with any mass.
        index = int(torch.searchsorted(cumulative, cumulative[-1]))
    return index


def _nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Find the smallest set of top tokens with mass `top_p`: probabilities and ids, sorted."""
    size = min(NUCLEUS_CANDIDATES, len(probabilities))
    kept, ids = probabilities.topk(size)
    if float(kept.sum()) < top_p:
        kept, ids = probabilities.sort(descending=True)
    count = _count_nucleus(kept, top_p)
    return kept[:count], ids[:count]


def _count_nucleus(probabilities: Tensor, top_p: float) -> int:
    """Count the first of descending probabilities that have the mass `top_p`, at least one."""
    before = probabilities.cumsum(dim=-1) - probabilities
    return max(int((before < top_p).sum()), 1)


def _mark(tokens: Sequence[int], logits: Tensor) -> Tensor:
    """Make a row that is true at these tokens."""
    row = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    row[list(tokens)] = True
    return row


def _penalize_repetition(logits: Tensor, repeated: Tensor, penalty: float) -> None:
    """Divide positive logits of repeated tokens by the penalty, and multiply negative ones."""
    penalized = torch.where(logits > 0, logits / penalty, logits * penalty)
    logits.copy_(torch.where(repeated, penalized, logits))


def _to_dense(values: Mapping[int, float], logits: Tensor) -> Tensor:
    """Make a row like `logits` with these values, and zeros elsewhere."""
    row = torch.zeros_like(logits)
    row[list(values)] = torch.tensor(list(values.values()), dtype=row.dtype, device=row.device)
    return row


def _make_logprobs(log_probabilities: Tensor, token: int, top: int) -> Logprobs:
    values, ids = log_probabilities.topk(top)
    alternatives = zip(ids.tolist(), values.clamp(min=MIN_LOGPROB).tolist(), strict=True)
    return Logprobs(max(float(log_probabilities[token]), MIN_LOGPROB), tuple(alternatives))
