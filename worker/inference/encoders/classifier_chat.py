"""Chat completions of a classifier: its label as the content, class probabilities as logprobs."""

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


def last_user_text(request: ChatCompletionRequest) -> str:
    """Return the text of the last user message, to be classified. Raises InvalidRequest."""
    for index, message in reversed(list(enumerate(request.messages))):
        if message.role == "user":
            text = "".join(
                choice_chunk.text or choice_chunk.refusal or ""
                for choice_chunk in message.content or []
            )
            if text:
                return text
            param = f"messages[{index}].content"
            raise InvalidRequest(f"Invalid '{param}': expected a text to classify.", param=param)
    raise InvalidRequest("A classifier needs a message with the role 'user'.", param="messages")


def build_completion(
    request: ChatCompletionRequest,
    labels: Sequence[str],
    classification: Classification,
    tokens: int,
    *,
    system_fingerprint: str,
) -> ChatCompletion:
    """Build the whole response."""
    content = ", ".join(labels[label] for label in classification.label_indices[0]) or NO_LABEL
    return ChatCompletion(
        id=f"chatcmpl-{random_alphanumeric(24)}",
        object="chat.completion",
        created=int(time.time()),
        model=request.model,
        choices=[
            Choice(
                index=0,
                message=AssistantMessage(
                    role="assistant", content=content, refusal=None, annotations=[]
                ),
                logprobs=_label_logprobs(request, labels, classification.probabilities[0]),
                finish_reason="stop",
            )
        ],
        usage=Usage.of(tokens, 1),
        service_tier="default",
        system_fingerprint=system_fingerprint,
    )


def stream_events(completion: ChatCompletion, request: ChatCompletionRequest) -> Iterator[bytes]:
    """Yield a finished response as the events of a stream."""
    (choice,) = completion.choices
    delta = Delta(role="assistant", content=choice.message.content, refusal=None)
    choice_chunks = [
        ChunkChoice(index=0, delta=delta, logprobs=choice.logprobs, finish_reason=None),
        ChunkChoice(index=0, delta=Delta(), logprobs=None, finish_reason="stop"),
    ]
    for choice_chunk in choice_chunks:
        yield _format_chunk(_make_chunk(completion, [choice_chunk]))
    if request.include_usage:
        yield _format_chunk(_make_chunk(completion, [], completion.usage))
    yield DONE


def _make_chunk(
    completion: ChatCompletion, choices: list[ChunkChoice], usage: Usage | None = None
) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(
        id=completion.id,
        object="chat.completion.chunk",
        created=completion.created,
        model=completion.model,
        choices=choices,
        service_tier=completion.service_tier,
        system_fingerprint=completion.system_fingerprint,
    )
    if usage is not None:
        chunk.usage = usage
    return chunk


def _format_chunk(chunk: ChatCompletionChunk) -> bytes:
    return format_event(chunk.model_dump_json(exclude_unset=True))


def _label_logprobs(
    request: ChatCompletionRequest, labels: Sequence[str], probabilities: NDArray[np.float32]
) -> ChoiceLogprobs | None:
    if not request.logprobs:
        return None
    ranking = (-probabilities).argsort()
    # The smallest normal float32 stands for 0, whose logarithm JSON cannot represent.
    ranked = [
        TokenLogprob(
            token=labels[label],
            logprob=math.log(max(float(probabilities[label]), 1e-38)),
            bytes=list(labels[label].encode()),
        )
        for label in ranking
    ]
    top = ranked[: request.top_logprobs or 0]
    return ChoiceLogprobs(
        content=[ContentLogprob(**ranked[0].model_dump(), top_logprobs=top)], refusal=None
    )
