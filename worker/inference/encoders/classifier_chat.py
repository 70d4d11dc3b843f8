"""A classifier that chats: its label as the content, the classes' chances as log-probabilities."""

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
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
    TokenLogprob,
)
from app.wire.sampling import Usage
from worker.inference.encoders.tasks import Classification
from worker.inference.sse import DONE, format_event

NO_LABEL = ""


def last_user_text(asked: ChatCompletionRequest) -> str:
    """The last user's message, which is what is classified. Raises InvalidRequest."""
    for number, message in reversed(list(enumerate(asked.messages))):
        if message.role == "user":
            text = "".join(part.text or part.refusal or "" for part in message.content or [])
            if text:
                return text
            param = f"messages[{number}].content"
            raise InvalidRequest(f"Invalid '{param}': expected a text to classify.", param=param)
    raise InvalidRequest("A classifier needs a message of the role 'user'.", param="messages")


def build_completion(
    asked: ChatCompletionRequest, labels: Sequence[str], found: Classification, tokens: int
) -> ChatCompletion:
    """The answer in one piece."""
    content = ", ".join(labels[place] for place in found.label_indices[0]) or NO_LABEL
    return ChatCompletion(
        id=f"chatcmpl-{random_alphanumeric(24)}",
        object="chat.completion",
        created=int(time.time()),
        model=asked.model,
        choices=[
            Choice(
                index=0,
                message=AssistantMessage(role="assistant", content=content, refusal=None),
                logprobs=_label_logprobs(asked, labels, found.probabilities[0]),
                finish_reason="stop",
            )
        ],
        usage=Usage(prompt_tokens=tokens, completion_tokens=1, total_tokens=tokens + 1),
    )


def stream_events(whole: ChatCompletion, asked: ChatCompletionRequest) -> Iterator[bytes]:
    """An answer that is there at once, as the events of a stream."""
    (choice,) = whole.choices
    first = Delta(role="assistant", content=choice.message.content)
    parts = [
        ChunkChoice(index=0, delta=first, logprobs=choice.logprobs, finish_reason=None),
        ChunkChoice(index=0, delta=Delta(), logprobs=None, finish_reason="stop"),
    ]
    for part in parts:
        yield _format_chunk(_make_chunk(whole, [part]))
    if asked.include_usage:
        yield _format_chunk(_make_chunk(whole, [], whole.usage))
    yield DONE


def _make_chunk(
    whole: ChatCompletion, choices: list[ChunkChoice], usage: Usage | None = None
) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(
        id=whole.id,
        object="chat.completion.chunk",
        created=whole.created,
        model=whole.model,
        choices=choices,
    )
    if usage is not None:
        chunk.usage = usage
    return chunk


def _format_chunk(chunk: ChatCompletionChunk) -> bytes:
    return format_event(chunk.model_dump_json(exclude_unset=True))


def _label_logprobs(
    asked: ChatCompletionRequest, labels: Sequence[str], chances: NDArray[np.float32]
) -> ChoiceLogprobs | None:
    if not asked.logprobs:
        return None
    order = (-chances).argsort()
    # The smallest float there is stands for 0, whose logarithm JSON cannot write.
    ranked = [
        TokenLogprob(
            token=labels[place],
            logprob=math.log(max(float(chances[place]), 1e-38)),
            bytes=list(labels[place].encode()),
        )
        for place in order
    ]
    top = ranked[: asked.top_logprobs or 0]
    return ChoiceLogprobs(
        content=[ContentLogprob(**ranked[0].model_dump(), top_logprobs=top)], refusal=None
    )
