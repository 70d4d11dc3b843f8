"""Responses of OpenAI's chat completions: whole, or as a stream of chunks."""

import json
import time
from collections.abc import AsyncIterator, Iterator

from app.errors import ApiError
from app.ids import random_alphanumeric
from app.wire.engine import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatFinishReason,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    ContentLogprob,
    Delta,
)
from app.wire.engine_metadata import EngineMetadata, metadata_from_lengths
from app.wire.sampling import Usage
from worker.inference.chat_answer import ChatAnswer, make_answer
from worker.inference.generation import ChoiceUpdate, Generation
from worker.inference.sse import DONE, format_event
from worker.model.rendering import ChatPrompt


class ChatCompletionBuilder:
    """Builds the response to a chat from the deltas of its generation."""

    def __init__(
        self,
        request: ChatCompletionRequest,
        prompt: ChatPrompt,
        generation: Generation,
        *,
        system_fingerprint: str,
    ) -> None:
        self._request = request
        self._fingerprint = system_fingerprint
        self._generation = generation
        self._answers = [make_answer(request, prompt) for _ in range(generation.num_choices)]
        self._updates = generation.updates()
        self._id = f"chatcmpl-{random_alphanumeric(24)}"
        self._created = int(time.time())

    def metadata(self) -> EngineMetadata:
        """Metadata for the API, available before the first token."""
        return metadata_from_lengths([self._generation.prompt_tokens], response_id=self._id)

    async def build(self) -> ChatCompletion:
        """Collect the whole response. Raises ApiError if the engine failed."""
        async for update in self._updates:
            for _ in self._add(update):
                pass
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._request.model,
            choices=[self._choice(index, answer) for index, answer in enumerate(self._answers)],
            usage=self._usage(),
            service_tier="default",
            system_fingerprint=self._fingerprint,
        )

    async def first_update(self) -> ChoiceUpdate:
        """Wait for the first update, so that an earlier failure is an ordinary error response."""
        return await anext(self._updates)

    async def stream(self, first: ChoiceUpdate) -> AsyncIterator[bytes]:
        """Yield the events of the response, given its first update."""
        try:
            for choice in range(self._generation.num_choices):
                yield self._choice_event(choice, Delta(role="assistant", content="", refusal=None))
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

    def _add(self, update: ChoiceUpdate) -> Iterator[Delta]:
        answer = self._answers[update.choice]
        yield from answer.add(update)
        if answer.finish_reason is not None:
            # It may have as many calls as the request allows.
            self._generation.end_choice(update.choice)

    def _choice(self, index: int, answer: ChatAnswer) -> Choice:
        return Choice(
            index=index,
            message=answer.to_message(),
            logprobs=self._logprobs(answer.take_logprobs()),
            finish_reason=answer.finish_reason or "length",
        )

    def _update_events(self, update: ChoiceUpdate) -> Iterator[bytes]:
        """Yield the events of an update; the first one has the log-probabilities so far."""
        answer = self._answers[update.choice]
        deltas = list(self._add(update))
        for delta in deltas:
            logprobs = self._logprobs(answer.take_logprobs())
            yield self._choice_event(update.choice, delta, logprobs=logprobs)
        if answer.finish_reason is not None:
            logprobs = self._logprobs(answer.take_logprobs()) if answer.logprobs else None
            yield self._choice_event(
                update.choice, Delta(), logprobs=logprobs, finish_reason=answer.finish_reason
            )

    def _choice_event(
        self,
        choice: int,
        delta: Delta,
        *,
        logprobs: ChoiceLogprobs | None = None,
        finish_reason: ChatFinishReason | None = None,
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
            service_tier="default",
            system_fingerprint=self._fingerprint,
        )
        if self._request.include_usage:
            # Assigned even if None: only fields that were set are serialized.
            chunk.usage = usage
        return format_event(chunk.model_dump_json(exclude_unset=True))

    def _logprobs(self, content: list[ContentLogprob]) -> ChoiceLogprobs | None:
        return ChoiceLogprobs(content=content, refusal=None) if self._request.logprobs else None

    def _usage(self) -> Usage:
        generation = self._generation
        return Usage.of(
            generation.prompt_tokens,
            generation.completion_tokens,
            cached_tokens=generation.cached_tokens,
            reasoning_tokens=sum(answer.reasoning_tokens for answer in self._answers),
        )
