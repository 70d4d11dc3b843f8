"""Chat completions as OpenAI writes them: in one piece, or as a stream of chunks."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from app.errors import ApiError
from app.ids import random_text
from app.wire.engine import (
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    ContentLogprob,
    Delta,
)
from app.wire.engine_metadata import Observation, of_lengths
from app.wire.sampling import Usage
from worker.inference.generation import Generation, Update
from worker.inference.messages import FinishReason
from worker.inference.sse import DONE, event


@dataclass(slots=True)
class _Collected:
    text: str = ""
    logprobs: list[ContentLogprob] = field(default_factory=list)
    reason: FinishReason = "length"


class Chat:
    """One answer in the making: the tokens of `generation` in the form that was asked for."""

    def __init__(self, asked: ChatCompletionRequest, generation: Generation) -> None:
        self._asked = asked
        self._generation = generation
        self._updates = generation.updates()
        self._id = f"chatcmpl-{random_text(24)}"
        self._created = int(time.time())

    def observation(self) -> Observation:
        """What the API is told of it, before there is any answer."""
        return of_lengths([self._generation.prompt_tokens], answer_id=self._id)

    async def whole(self) -> ChatCompletion:
        """Raises ApiError if the engine failed."""
        choices = [_Collected() for _ in range(self._generation.choices)]
        async for update in self._updates:
            choice = choices[update.choice]
            choice.text += update.piece.text
            choice.logprobs += update.piece.logprobs
            choice.reason = update.reason or choice.reason
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._asked.model,
            choices=[self._choice(index, choice) for index, choice in enumerate(choices)],
            usage=self._usage(),
        )

    async def first(self) -> Update:
        """Wait for the first piece, so that what fails before it is an ordinary error."""
        return await anext(self._updates)

    async def stream(self, first: Update) -> AsyncIterator[bytes]:
        """The events of an answer whose first piece was waited for already."""
        try:
            for choice in range(self._generation.choices):
                yield self._chunk(choice, Delta(role="assistant", content=""))
            for chunk in self._chunks(first):
                yield chunk
            async for update in self._updates:
                for chunk in self._chunks(update):
                    yield chunk
        except ApiError as error:
            # The status is long sent; the SDKs raise when they read this.
            yield event(json.dumps(error.body()))
        else:
            if self._asked.include_usage:
                yield self._sent([], self._usage())
        yield DONE

    def _choice(self, index: int, choice: _Collected) -> Choice:
        return Choice(
            index=index,
            message=AnswerMessage(role="assistant", content=choice.text, refusal=None),
            logprobs=self._logprobs(choice.logprobs),
            finish_reason=choice.reason,
        )

    def _chunks(self, update: Update) -> Iterator[bytes]:
        if update.piece:
            delta = Delta(content=update.piece.text)
            yield self._chunk(update.choice, delta, logprobs=self._logprobs(update.piece.logprobs))
        if update.reason is not None:
            yield self._chunk(update.choice, Delta(), reason=update.reason)

    def _chunk(
        self,
        choice: int,
        delta: Delta,
        *,
        logprobs: ChoiceLogprobs | None = None,
        reason: FinishReason | None = None,
    ) -> bytes:
        part = ChunkChoice(index=choice, delta=delta, logprobs=logprobs, finish_reason=reason)
        return self._sent([part], None)

    def _sent(self, choices: list[ChunkChoice], usage: Usage | None) -> bytes:
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
        return event(chunk.model_dump_json(exclude_unset=True))

    def _logprobs(self, content: list[ContentLogprob]) -> ChoiceLogprobs | None:
        return ChoiceLogprobs(content=content, refusal=None) if self._asked.logprobs else None

    def _usage(self) -> Usage:
        prompt, completion = self._generation.prompt_tokens, self._generation.completion_tokens
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
        )
