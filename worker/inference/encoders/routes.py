"""Encoders over HTTP: classes, Hugging Face's tasks, and a classifier that chats."""

import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.ids import random_text
from app.schemas import encoders as wire
from app.schemas.engine import (
    AnswerMessage,
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
from app.schemas.sampling import Usage
from worker.encoding.texts import Text
from worker.inference.encoders import tasks
from worker.inference.encoders.models import ServedEncoder

NONE_APPLIES = ""


async def classify(asked: wire.ClassifyRequest, served: ServedEncoder) -> wire.Classified:
    """vLLM's answer, and the names of the classes in the order of their probabilities."""
    task = tasks.task_of(served, "classification")
    texts = await _read(served, asked.input, asked.truncate_prompt_tokens)
    found = await tasks.classify(served, texts)
    tokens = _count(texts)
    items = [
        wire.ClassifyItem(
            index=index,
            label=labels[0] if labels else None,
            probs=[float(value) for value in probabilities],
            num_classes=len(task.labels),
        )
        for index, (labels, probabilities) in enumerate(
            zip(found.chosen, found.probabilities, strict=True)
        )
    ]
    return wire.Classified(
        id=f"classify-{random_text(24)}",
        created=int(time.time()),
        model=asked.model,
        data=items,
        labels=list(task.labels),
        usage=wire.ClassifyUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


async def infer(asked: wire.InferenceRequest, served: ServedEncoder) -> Any:
    """What Hugging Face's inference API answers for the model's task."""
    options = asked.parameters
    if isinstance(asked.inputs, wire.QuestionInput):
        question = asked.inputs
        return await tasks.answer(served, question.question, question.context)
    task = tasks.task_of(served, "classification", "token_classification", "embedding")
    texts = await tasks.read(served, asked.inputs, cut=bool(options.truncate))
    if task.method == "embedding":
        return (await tasks.embed(served, texts)).tolist()
    if task.method == "token_classification":
        found = await tasks.tag(served, asked.inputs, texts)
        ignored = options.ignore_labels or []
        kept = [[e for e in one if e["entity_group"] not in ignored] for one in found]
        return kept[0] if len(kept) == 1 else kept
    classes = await tasks.classify(served, texts)
    return [_ranked(task.labels, row, options.top_k) for row in classes.probabilities]


async def chat(asked: ChatCompletionRequest, served: ServedEncoder) -> ChatCompletion:
    """A classifier's answer to the last user's message: its label, with the classes' chances."""
    task = tasks.task_of(served, "classification")
    texts = await tasks.read(served, [_said(asked)], cut=False)
    found = await tasks.classify(served, texts)
    content = ", ".join(found.chosen[0]) or NONE_APPLIES
    tokens = _count(texts)
    return ChatCompletion(
        id=f"chatcmpl-{random_text(24)}",
        object="chat.completion",
        created=int(time.time()),
        model=asked.model,
        choices=[
            Choice(
                index=0,
                message=AnswerMessage(role="assistant", content=content, refusal=None),
                logprobs=_logprobs(asked, task.labels, found.probabilities[0]),
                finish_reason="stop",
            )
        ],
        usage=Usage(prompt_tokens=tokens, completion_tokens=1, total_tokens=tokens + 1),
    )


async def streamed(whole: ChatCompletion, asked: ChatCompletionRequest) -> AsyncIterator[bytes]:
    """An answer that is there at once, as the events of a stream."""
    (choice,) = whole.choices
    said = Delta(role="assistant", content=choice.message.content)
    parts = [
        ChunkChoice(index=0, delta=said, logprobs=choice.logprobs, finish_reason=None),
        ChunkChoice(index=0, delta=Delta(), logprobs=None, finish_reason="stop"),
    ]
    for part in parts:
        yield _event(_chunk(whole, [part]))
    if asked.include_usage:
        yield _event(_chunk(whole, [], whole.usage))
    yield b"data: [DONE]\n\n"


def _chunk(
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


def _event(chunk: ChatCompletionChunk) -> bytes:
    return b"data: " + chunk.model_dump_json(exclude_unset=True).encode() + b"\n\n"


def _said(asked: ChatCompletionRequest) -> str:
    for message in reversed(asked.messages):
        if message.role == "user":
            return "".join(part.text or part.refusal or "" for part in message.content or [])
    raise InvalidRequest("A classifier needs a message of the role 'user'.", param="messages")


def _logprobs(
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


def _ranked(
    labels: Sequence[str], chances: NDArray[np.float32], top: int | None
) -> list[dict[str, Any]]:
    order = (-chances).argsort()[:top]
    return [{"label": labels[place], "score": float(chances[place])} for place in order]


async def _read(served: ServedEncoder, inputs: Sequence[str], truncate: int | None) -> list[Text]:
    return await tasks.read(served, inputs, cut=truncate is not None, to=truncate)


def _count(texts: Sequence[Text]) -> int:
    return sum(len(text.ids) for text in texts)
