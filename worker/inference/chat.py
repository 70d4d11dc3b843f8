"""Responses of OpenAI's chat completions: whole, or as a stream of chunks."""

import json
import time
from collections.abc import AsyncIterator, Iterator

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
from app.wire.sampling import FinishReason, Usage
from worker.inference.generation import ChoiceBuffer, ChoiceUpdate, Generation
from worker.inference.sse import DONE, format_event


class ChatCompletionBuilder:
    """Builds the response to a chat from the deltas of its generation."""

    def __init__(self, request: ChatCompletionRequest, generation: Generation) -> None:
        self._request = request
        self._generation = generation
        self._updates = generation.updates()
        self._id = f"chatcmpl-{random_alphanumeric(24)}"
        self._created = int(time.time())

    def metadata(self) -> EngineMetadata:
        """Metadata for the API, available before the first token."""
        return metadata_from_lengths([self._generation.prompt_tokens], response_id=self._id)

    async def build(self) -> ChatCompletion:
        """Collect the whole response. Raises ApiError if the engine failed."""
        choices = [ChoiceBuffer() for _ in range(self._generation.num_choices)]
        async for update in self._updates:
            choices[update.choice].add(update)
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._request.model,
            choices=[self._choice(index, choice) for index, choice in enumerate(choices)],
            usage=self._usage(),
        )

    async def first_update(self) -> ChoiceUpdate:
        """Wait for the first update, so that an earlier failure is an ordinary error response."""
        return await anext(self._updates)

    async def stream(self, first: ChoiceUpdate) -> AsyncIterator[bytes]:
        """Yield the events of the response, given its first update."""
        try:
            for choice in range(self._generation.num_choices):
                yield self._choice_event(choice, Delta(role="assistant", content=""))
            for chunk in self._update_events(first):
                yield chunk
            async for update in self._updates:
                for chunk in self._update_events(update):
                    yield chunk
        except ApiError as error:
            # The status was sent already; OpenAI's SDKs raise when they read this event.
            yield format_event(json.dumps(error.body()))
        else:
            if self._request.include_usage:
                yield self._format_chunk([], self._usage())
        yield DONE

    def _choice(self, index: int, choice: ChoiceBuffer) -> Choice:
        return Choice(
            index=index,
            message=AssistantMessage(role="assistant", content=choice.text, refusal=None),
            logprobs=self._logprobs(choice.logprobs),
            finish_reason=choice.finish_reason,
        )

    def _update_events(self, update: ChoiceUpdate) -> Iterator[bytes]:
        if update.delta:
            delta = Delta(content=update.delta.text)
            yield self._choice_event(
                update.choice, delta, logprobs=self._logprobs(update.delta.logprobs)
            )
        if update.finish_reason is not None:
            yield self._choice_event(update.choice, Delta(), finish_reason=update.finish_reason)

    def _choice_event(
        self,
        choice: int,
        delta: Delta,
        *,
        logprobs: ChoiceLogprobs | None = None,
        finish_reason: FinishReason | None = None,
    ) -> bytes:
        part = ChunkChoice(
            index=choice, delta=delta, logprobs=logprobs, finish_reason=finish_reason
        )
        return self._format_chunk([part], None)

    def _format_chunk(self, choices: list[ChunkChoice], usage: Usage | None) -> bytes:
        chunk = ChatCompletionChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._request.model,
            choices=choices,
        )
        if self._request.include_usage:
            # Assigned even if None: only fields that were set are serialized.
            chunk.usage = usage
        return format_event(chunk.model_dump_json(exclude_unset=True))

    def _logprobs(self, content: list[ContentLogprob]) -> ChoiceLogprobs | None:
        return ChoiceLogprobs(content=content, refusal=None) if self._request.logprobs else None

    def _usage(self) -> Usage:
        prompt, completion = self._generation.prompt_tokens, self._generation.completion_tokens
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
        )
