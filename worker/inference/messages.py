"""What passes between the server and the engine thread: token ids in, token ids out, no text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.errors import ApiError
from worker.inference.adapter_cache import AdapterFiles

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen. `temperature` 0 takes the likeliest.

    `top_logprobs` is None where no log-probabilities are asked for; 0 asks for the chosen
    token's alone.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log-probabilities the model itself gave, before temperature, penalties and bias."""

    chosen: float
    # (token id, log-probability), likeliest first.
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Token:
    """One more token of a choice. The end-of-turn token is not sent; `Finished` stands for it."""

    choice: int
    id: int
    logprobs: Logprobs | None


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """How likely the prompt's own tokens were, in their order; the first of all has no chance."""

    tokens: tuple[tuple[int, Logprobs | None], ...]


@dataclass(frozen=True, slots=True)
class PooledOutput:
    """The mean [width] of the prompt's hidden states, and the last word on the request."""

    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last word on a choice."""

    choice: int
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Failed:
    """The last word on a request: no choice of it goes on."""

    error: ApiError


Event = Token | PromptLogprobs | PooledOutput | Finished | Failed


# Compared by identity: two requests may ask for the same.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """A prompt to continue `choices` times. `emit` is called from the engine thread.

    If it is `scored`, the prompt's own log-probabilities are sent first, with as many alternatives
    as `sampling` says. If it is `pooled`, the prompt's hidden states are all that is wanted.
    """

    # Not in any traceback: it is what a user wrote.
    prompt: list[int] = field(repr=False)
    num_choices: int
    max_new_tokens: int
    stop_ids: frozenset[int]
    sampling: SamplingParams
    adapter: AdapterFiles | None
    prompt_logprobs: bool = False
    pooling: bool = False
    emit: Callable[[Event], None]
