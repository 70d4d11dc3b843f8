"""One request on its way through the engine, as the server sees it: events in, text out."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionRequest
from app.wire.sampling import SamplingRequest
from worker.inference.choice_text import ChoiceText, TextDelta
from worker.inference.engine_thread import EngineThread
from worker.inference.messages import (
    Event,
    Failed,
    Finished,
    FinishReason,
    Logprobs,
    PooledOutput,
    PromptLogprobs,
    Request,
    SamplingParams,
    Token,
)
from worker.inference.registry import LoadedModel, ServedCausalModel
from worker.rendering import PromptTooLong, RenderingError


@dataclass(frozen=True, slots=True)
class ChoiceUpdate:
    """A piece of a choice. With a `reason` it is the choice's last."""

    choice: int
    delta: TextDelta
    finish_reason: FinishReason | None = None


class Generation:
    """Made on the event loop. Whoever made it calls `close` in the end, come what may."""

    def __init__(
        self,
        prompt: Sequence[int],
        asked: SamplingRequest,
        served: ServedCausalModel,
        thread: EngineThread,
        *,
        prompt_logprobs: bool = False,
    ) -> None:
        """Raises InvalidRequest if `asked` does not fit the model."""
        base = served.base
        self._thread = thread
        self._engine = base.engine
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.prompt_tokens = len(prompt)
        self.completion_tokens = 0
        # The prompt's own tokens, if they are `scored`; all there before the first update.
        self.prompt_logprobs: list[tuple[int, Logprobs | None]] = []
        self.num_choices = _resolve_num_choices(asked, base)
        self._open = {
            choice: ChoiceText(base.vocabulary, asked.stop or ())
            for choice in range(self.num_choices)
        }
        self._request = Request(
            prompt=list(prompt),
            num_choices=self.num_choices,
            max_new_tokens=resolve_max_tokens(len(prompt), asked, base),
            stop_ids=base.renderer.stop_ids,
            sampling=_sampling_params(asked, base),
            prompt_logprobs=prompt_logprobs,
            adapter=served.adapter,
            emit=self._emit,
        )

    def submit(self) -> None:
        """Raises Unavailable if the engine has too much to do."""
        self._thread.submit(self._engine, self._request)

    def close(self) -> None:
        """Stop what still runs: the client has left, or it all came to its end."""
        if self._open:
            self._thread.abort(self._engine, self._request)

    async def updates(self) -> AsyncIterator[ChoiceUpdate]:
        """The pieces of all choices as they come. Raises ApiError if the engine failed."""
        while self._open:
            event = await self._events.get()
            if isinstance(event, Failed):
                self._open.clear()
                raise event.error
            if isinstance(event, PromptLogprobs):
                self.prompt_logprobs += event.tokens
            elif not isinstance(event, PooledOutput):
                for update in self._handle_event(event):
                    yield update

    def _handle_event(self, event: Token | Finished) -> Iterator[ChoiceUpdate]:
        text = self._open.get(event.choice)
        if text is None:
            # The engine learns late that a stop string was found; what it sent meanwhile is void.
            return
        if isinstance(event, Finished):
            yield self._finish_choice(event.choice, event.reason)
            return
        self.completion_tokens += 1
        piece = text.push(event)
        if piece:
            yield ChoiceUpdate(event.choice, piece)
        if text.has_stopped:
            self._thread.abort(self._engine, self._request, event.choice)
            yield self._finish_choice(event.choice, "stop")

    def _finish_choice(self, choice: int, reason: FinishReason) -> ChoiceUpdate:
        text = self._open.pop(choice)
        piece = text.finish()
        return ChoiceUpdate(choice, piece, "stop" if text.has_stopped else reason)

    def _emit(self, event: Event) -> None:
        """Called from the engine thread."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)


async def render_prompt(asked: ChatCompletionRequest, base: LoadedModel) -> list[int]:
    """The prompt's ids; in a thread, because long texts take a while. Raises InvalidRequest."""

    def prompt() -> list[int]:
        messages = [message.model_dump(exclude_none=True) for message in asked.messages]
        return base.renderer.render_prompt(messages)

    try:
        return await asyncio.to_thread(prompt)
    except PromptTooLong as error:
        raise _context_length_error(base, f"at least {error.min_tokens}") from error
    except RenderingError as error:
        raise InvalidRequest(str(error), param="messages") from error


def _resolve_num_choices(asked: SamplingRequest, base: LoadedModel) -> int:
    choices, most = asked.num_choices, base.engine.decoder.num_slots
    if choices > most:
        raise InvalidRequest(
            f"Invalid 'n': this engine makes at most {most} choices at once.",
            param="n",
            code="invalid_value",
        )
    return choices


def resolve_max_tokens(prompt: int, asked: SamplingRequest, base: LoadedModel) -> int:
    """Tokens that may be generated: what was asked for, as far as the context reaches."""
    length = base.renderer.context_length
    if prompt > length - (asked.max_new_tokens != 0):
        raise _context_length_error(base, str(prompt))
    return min(length if asked.max_new_tokens is None else asked.max_new_tokens, length - prompt)


def _context_length_error(base: LoadedModel, tokens: str) -> InvalidRequest:
    return InvalidRequest(
        f"This model's maximum context length is {base.renderer.context_length} tokens. However, "
        f"your messages resulted in {tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def _sampling_params(asked: SamplingRequest, base: LoadedModel) -> SamplingParams:
    bias = {int(id): value for id, value in (asked.logit_bias or {}).items()}
    strange = [id for id in bias if id >= base.vocabulary.size]
    if strange:
        raise InvalidRequest(
            f"Invalid 'logit_bias': this model has no token {min(strange)}.",
            param="logit_bias",
            code="invalid_value",
        )
    return SamplingParams(
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        seed=asked.seed,
        presence_penalty=asked.presence_penalty or 0.0,
        frequency_penalty=asked.frequency_penalty or 0.0,
        logit_bias=bias,
        top_logprobs=asked.num_top_logprobs,
    )
