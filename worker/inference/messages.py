"""Messages between the server and the engine thread: token ids in, token ids out, no text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from app.errors import ApiError
from app.wire.sampling import FinishReason
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.grammar.grammar import TextRules


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Parameters of token sampling. `temperature` 0 is greedy decoding.

    `top_k` None keeps all tokens. `top_logprobs` None requests no log-probabilities; 0 requests the
    sampled token's alone.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None
    # Of each choice's text.
    grammar: TextRules | None = None


@dataclass(frozen=True, slots=True)
class Logprobs:
    """The model's own log-probabilities, before temperature, penalties and bias."""

    chosen: float
    # (token id, log-probability), most likely first.
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token. A stop token is not emitted; `Finished` takes its place."""

    choice: int
    id: int
    logprobs: Logprobs | None


@dataclass(frozen=True, slots=True)
class PrefixReused:
    """So many of the prompt's first tokens were not computed again."""

    num_tokens: int


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """Log-probabilities of the prompt's tokens, in order. The first token has none."""

    tokens: tuple[tuple[int, Logprobs | None], ...]


@dataclass(frozen=True, slots=True)
class PooledOutput:
    """The mean [hidden size] of the prompt's hidden states; ends the request."""

    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of one choice."""

    choice: int
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Failed:
    """The failure of a request and all of its choices."""

    error: ApiError


Event = Token | PrefixReused | PromptLogprobs | PooledOutput | Finished | Failed


# Compared by identity: two requests may be equal.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """A prompt to continue `num_choices` times. `emit` is called from the engine thread.

    With `prompt_logprobs` the prompt's log-probabilities are emitted first, with
    `sampling.top_logprobs` alternatives each. With `pooling` the mean hidden state is the only
    output.
    """

    # Kept out of tracebacks and logs: it is user data.
    prompt: list[int] = field(repr=False)
    num_choices: int
    max_new_tokens: int
    # The share of the engine that this takes, see `shares`.
    project: str = ""
    stop_ids: frozenset[int]
    sampling: SamplingParams
    adapter: AdapterFiles | None
    prompt_logprobs: bool = False
    pooling: bool = False
    submitted_at: float = field(default_factory=monotonic)
    emit: Callable[[Event], None]
