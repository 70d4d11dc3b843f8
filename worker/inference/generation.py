"""One request in the engine, seen from the server: engine events in, text out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.errors import InvalidRequest
from app.wire.engine import ContentLogprob
from app.wire.sampling import FinishReason, SamplingRequest
from worker.inference.choice_text import ChoiceText, TextDelta
from worker.inference.engine_thread import EngineThread
from worker.inference.grammar.grammar import TextRules
from worker.inference.loaded_model import LoadedModel
from worker.inference.messages import (
    Event,
    Failed,
    Finished,
    Logprobs,
    PooledOutput,
    PrefixReused,
    PromptLogprobs,
    Request,
    SamplingParams,
    Token,
)
from worker.inference.registry import ServedCausalModel


@dataclass(frozen=True, slots=True)
class ChoiceUpdate:
    """A text delta of a choice. The choice's last one has a `finish_reason`.

    `num_tokens` are those of the choice so far.
    """

    choice: int
    delta: TextDelta
    finish_reason: FinishReason | None = None
    num_tokens: int = 0


@dataclass(slots=True)
class ChoiceBuffer:
    """Everything a choice has generated so far."""

    text: str = ""
    logprobs: list[ContentLogprob] = field(default_factory=list)
    finish_reason: FinishReason = "length"

    def add(self, update: ChoiceUpdate) -> None:
        self.text += update.delta.text
        self.logprobs += update.delta.logprobs
        self.finish_reason = update.finish_reason or self.finish_reason

    @property
    def mean_logprob(self) -> float:
        total = sum(token.logprob for token in self.logprobs)
        return total / max(len(self.logprobs), 1)


class Generation:
    """One request to the engine. Lives on the event loop.

    The creator must always call `close`, also after an error.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        request: SamplingRequest,
        served: ServedCausalModel,
        thread: EngineThread,
        *,
        project: str,
        prompt_logprobs: bool = False,
        special: Mapping[int, str] | None = None,
        grammar: TextRules | None = None,
    ) -> None:
        """Build the engine's request. Raises InvalidRequest if it does not fit the model."""
        base = served.base
        self._thread = thread
        self._engine = base.engine
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.prompt_tokens = len(prompt)
        self.completion_tokens = 0
        # Tokens of the prompt that did not have to be computed; known before the first update.
        self.cached_tokens = 0
        # The prompt's tokens, if requested; complete before the first update.
        self.prompt_logprobs: list[tuple[int, Logprobs | None]] = []
        self._num_tokens: Counter[int] = Counter()
        self.num_choices = _resolve_num_choices(request, base)
        self._open = {
            choice: ChoiceText(base.vocabulary, request.stop or (), special)
            for choice in range(self.num_choices)
        }
        self._request = Request(
            prompt=list(prompt),
            num_choices=self.num_choices,
            project=project,
            max_new_tokens=resolve_max_tokens(len(prompt), request, base),
            stop_ids=base.renderer.stop_ids,
            sampling=_sampling_params(request, base, grammar),
            prompt_logprobs=prompt_logprobs,
            adapter=served.adapter,
            emit=self._emit,
        )

    def submit(self) -> None:
        """Queue the request. Raises ServiceUnavailable or RateLimited if the queue is full."""
        self._thread.submit(self._engine, self._request)

    def close(self) -> None:
        """Abort the choices that are still running, e.g. if the client disconnected."""
        if self._open:
            self._thread.abort(self._engine, self._request)

    def end_choice(self, choice: int) -> None:
        """Drop what a choice would still generate."""
        if self._open.pop(choice, None) is not None:
            self._thread.abort(self._engine, self._request, choice)

    async def updates(self) -> AsyncIterator[ChoiceUpdate]:
        """Yield the deltas of all choices as they arrive. Raises ApiError if the engine failed."""
        while self._open:
            event = await self._events.get()
            if isinstance(event, Failed):
                self._open.clear()
                raise event.error
            if isinstance(event, PromptLogprobs):
                self.prompt_logprobs += event.tokens
            elif isinstance(event, PrefixReused):
                self.cached_tokens += event.num_tokens
            elif not isinstance(event, PooledOutput):
                for update in self._handle_event(event):
                    yield update

    def _handle_event(self, event: Token | Finished) -> Iterator[ChoiceUpdate]:
        text = self._open.get(event.choice)
        if text is None:
            # Tokens that the engine generated before it was notified of a stop string.
            return
        if isinstance(event, Finished):
            yield self._finish_choice(event.choice, event.reason)
            return
        self.completion_tokens += 1
        self._num_tokens[event.choice] += 1
        delta = text.push(event)
        if delta:
            yield ChoiceUpdate(event.choice, delta, num_tokens=self._num_tokens[event.choice])
        if text.has_stopped:
            self._thread.abort(self._engine, self._request, event.choice)
            yield self._finish_choice(event.choice, "stop")

    def _finish_choice(self, choice: int, reason: FinishReason) -> ChoiceUpdate:
        text = self._open.pop(choice)
        delta = text.finish()
        reason = "stop" if text.has_stopped else reason
        return ChoiceUpdate(choice, delta, reason, self._num_tokens[choice])

    def _emit(self, event: Event) -> None:
        """Pass an event to the event loop. Called from the engine thread."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)


def _resolve_num_choices(request: SamplingRequest, base: LoadedModel) -> int:
    num_choices, limit = request.num_choices, base.engine.decoder.num_slots
    if num_choices > limit:
        raise InvalidRequest(
            f"Invalid 'n': this engine generates at most {limit} choices at once.",
            param="n",
            code="invalid_value",
        )
    return num_choices


def resolve_max_tokens(prompt_tokens: int, request: SamplingRequest, base: LoadedModel) -> int:
    """Limit the requested number of tokens, or the model's default, to the rest of the context."""
    length, wanted = base.renderer.context_length, request.max_new_tokens
    if prompt_tokens > length - (wanted != 0):
        raise context_length_error(base, str(prompt_tokens))
    return min(base.default_max_tokens if wanted is None else wanted, length - prompt_tokens)


def max_prompt_tokens(request: SamplingRequest, base: LoadedModel) -> int:
    """The length of prompts that leave room for the requested number of tokens, or the model's
    default; they may have half of the context in any case."""
    length, wanted = base.renderer.context_length, request.max_new_tokens
    room = base.default_max_tokens if wanted is None else wanted
    return length - min(room, length // 2)


def context_length_error(base: LoadedModel, tokens: str) -> InvalidRequest:
    return InvalidRequest(
        f"This model's maximum context length is {base.renderer.context_length} tokens. However, "
        f"your messages resulted in {tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def _first(requested: float | None, default: float | None) -> float:
    """Choose the request's value, else the model's own, else OpenAI's."""
    return next((value for value in (requested, default) if value is not None), 1.0)


def _sampling_params(
    request: SamplingRequest, base: LoadedModel, grammar: TextRules | None
) -> SamplingParams:
    bias = {int(id): value for id, value in (request.logit_bias or {}).items()}
    unknown_ids = [id for id in bias if id >= base.vocabulary.size]
    if unknown_ids:
        raise InvalidRequest(
            f"Invalid 'logit_bias': this model has no token {min(unknown_ids)}.",
            param="logit_bias",
            code="invalid_value",
        )
    defaults = base.sampling_defaults
    return SamplingParams(
        temperature=_first(request.temperature, defaults.temperature),
        top_p=_first(request.top_p, defaults.top_p),
        top_k=defaults.top_k,
        repetition_penalty=defaults.repetition_penalty or 1.0,
        seed=request.seed,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        logit_bias=bias,
        top_logprobs=request.num_top_logprobs,
        grammar=grammar,
    )
