"""Chat completions as OpenAI writes them: in one piece, or as a stream of chunks."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from app.errors import ApiError
from app.ids import random_alphanumeric
from app.wire.engine import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    ContentLogprob,
    Delta,
)
from app.wire.engine_metadata import EngineMetadata, metadata_from_lengths
from app.wire.sampling import Usage
from worker.inference.generation import ChoiceUpdate, Generation
from worker.inference.messages import FinishReason
from worker.inference.sse import DONE, format_event


@dataclass(slots=True)
class _ChoiceBuffer:
    text: str = ""
    logprobs: list[ContentLogprob] = field(default_factory=list)
    reason: FinishReason = "length"


class ChatCompletionBuilder:
    """One answer in the making: the tokens of `generation` in the form that was asked for."""

    def __init__(self, asked: ChatCompletionRequest, generation: Generation) -> None:
        self._asked = asked
        self._generation = generation
        self._updates = generation.updates()
        self._id = f"chatcmpl-{random_alphanumeric(24)}"
        self._created = int(time.time())

    def metadata(self) -> EngineMetadata:
        """What the API is told of it, before there is any answer."""
        return metadata_from_lengths([self._generation.prompt_tokens], answer_id=self._id)

    async def build(self) -> ChatCompletion:
        """Raises ApiError if the engine failed."""
        choices = [_ChoiceBuffer() for _ in range(self._generation.num_choices)]
        async for update in self._updates:
            choice = choices[update.choice]
            choice.text += update.delta.text
            choice.logprobs += update.delta.logprobs
            choice.reason = update.finish_reason or choice.reason
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._asked.model,
            choices=[self._choice(index, choice) for index, choice in enumerate(choices)],
            usage=self._usage(),
        )

    async def first_update(self) -> ChoiceUpdate:
        """Wait for the first piece, so that what fails before it is an ordinary error."""
        return await anext(self._updates)

    async def stream(self, first: ChoiceUpdate) -> AsyncIterator[bytes]:
        """The events of an answer whose first piece was waited for already."""
        try:
            for choice in range(self._generation.num_choices):
                yield self._choice_event(choice, Delta(role="assistant", content=""))
            for chunk in self._update_events(first):
                yield chunk
            async for update in self._updates:
                for chunk in self._update_events(update):
                    yield chunk
        except ApiError as error:
            # The status is long sent; the SDKs raise when they read this.
            yield format_event(json.dumps(error.body()))
        else:
            if self._asked.include_usage:
                yield self._format_chunk([], self._usage())
        yield DONE

    def _choice(self, index: int, choice: _ChoiceBuffer) -> Choice:
        return Choice(
            index=index,
            message=AssistantMessage(role="assistant", content=choice.text, refusal=None),
            logprobs=self._logprobs(choice.logprobs),
            finish_reason=choice.reason,
        )

    def _update_events(self, update: ChoiceUpdate) -> Iterator[bytes]:
        if update.delta:
            delta = Delta(content=update.delta.text)
            yield self._choice_event(
                update.choice, delta, logprobs=self._logprobs(update.delta.logprobs)
            )
        if update.finish_reason is not None:
            yield self._choice_event(update.choice, Delta(), reason=update.finish_reason)

    def _choice_event(
        self,
        choice: int,
        delta: Delta,
        *,
        logprobs: ChoiceLogprobs | None = None,
        reason: FinishReason | None = None,
    ) -> bytes:
        part = ChunkChoice(index=choice, delta=delta, logprobs=logprobs, finish_reason=reason)
        return self._format_chunk([part], None)

    def _format_chunk(self, choices: list[ChunkChoice], usage: Usage | None) -> bytes:
        chunk = ChatCompletionChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._asked.model,
            choices=choices,
        )
        if self._asked.include_usage:
            # Set, and so sent, also where it is null.
            chunk.usage = usage
        return format_event(chunk.model_dump_json(exclude_unset=True))

    def _logprobs(self, content: list[ContentLogprob]) -> ChoiceLogprobs | None:
        return ChoiceLogprobs(content=content, refusal=None) if self._asked.logprobs else None

    def _usage(self) -> Usage:
        prompt, completion = self._generation.prompt_tokens, self._generation.completion_tokens
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
        )
