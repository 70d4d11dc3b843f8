"""Encoders over HTTP: classes, Hugging Face's tasks, and a classifier that chats."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from app.schemas import encoders as wire
from app.schemas.engine import ChatCompletion, ChatCompletionRequest
from app.schemas.observation import Observation
from worker.encoding.texts import Text
from worker.inference.encoders import chats, replies, tasks
from worker.inference.encoders.models import ServedEncoder
from worker.inference.encoders.observing import observe
from worker.inference.encoders.replies import Reply

# Answers on fewer texts are made faster than a thread takes them over.
FEW = 16

Made = TypeVar("Made")


async def classify(asked: wire.ClassifyRequest, served: ServedEncoder) -> Reply:
    """vLLM's answer."""
    task = tasks.task_of(served, "classification")
    texts = await _read(served, asked.input, asked.truncate_prompt_tokens)
    vectors = await tasks.computed(served, texts)

    def make() -> Reply:
        found = tasks.classify(served, vectors)
        return replies.classified(asked, task.labels, found, observe(served, texts, found))

    return await _made(texts, make)


async def infer(asked: wire.InferenceRequest, served: ServedEncoder) -> Reply:
    """What Hugging Face's inference API answers for the model's task."""
    if isinstance(asked.inputs, wire.QuestionInput):
        return await _answer(asked.inputs, served, cut=bool(asked.parameters.truncate))
    task = tasks.task_of(served, "classification", "token_classification", "embedding")
    plain = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
    cut = bool(asked.parameters.truncate)
    texts = await tasks.read(served, plain, cut=cut, route=tasks.HUGGING_FACE)
    each = task.method == "token_classification"
    computed = await tasks.computed(served, texts, each=each)
    return await _made(texts, partial(_inferred, asked, served, plain, texts, computed))


def _inferred(
    asked: wire.InferenceRequest,
    served: ServedEncoder,
    plain: Sequence[str],
    texts: Sequence[Text],
    computed: Sequence[Tensor],
) -> Reply:
    task, options = tasks.task_of(served), asked.parameters
    if task.method == "embedding":
        return Reply(replies.as_json(tasks.embed(computed)), observe(served, texts))
    if task.method == "token_classification":
        found = tasks.tag(served, plain, texts, computed)
        ignored = options.ignore_labels or []
        kept = [[e for e in one if e["entity_group"] not in ignored] for one in found]
        shown = kept[0] if isinstance(asked.inputs, str) else kept
        return Reply(replies.as_json(shown), observe(served, texts))
    classes = tasks.classify(served, computed)
    ranked = [replies.ranked(task.labels, row, options.top_k) for row in classes.probabilities]
    return Reply(replies.as_json(ranked), observe(served, texts, classes))


async def _answer(asked: wire.QuestionInput, served: ServedEncoder, *, cut: bool) -> Reply:
    tasks.task_of(served, "question_answering")
    windows = await tasks.windows(served, asked.question, asked.context, cut=cut)
    states = await tasks.computed(served, windows, each=True)

    def make() -> Reply:
        found = tasks.answer(served, asked.context, windows, states)
        return Reply(replies.as_json(found), observe(served, windows))

    return await _made(windows, make)


async def chat(
    asked: ChatCompletionRequest, served: ServedEncoder
) -> tuple[ChatCompletion, Observation]:
    """A classifier's answer to the last user's message."""
    task = tasks.task_of(served, "classification")
    texts = await tasks.read(served, [chats.said(asked)], cut=False, route=tasks.CHAT)
    found = tasks.classify(served, await tasks.computed(served, texts))
    answer = chats.completion(asked, task.labels, found, replies.count(texts))
    seen = observe(served, texts, found)
    return answer, seen.model_copy(update={"answer_id": answer.id})


async def streamed(whole: ChatCompletion, asked: ChatCompletionRequest) -> AsyncIterator[bytes]:
    """An answer that is there at once, as the events of a stream."""
    for event in chats.streamed(whole, asked):
        yield event


async def _made(texts: Sequence[Any], make: Callable[[], Made]) -> Made:
    """What `make` makes, beside the event loop if it takes long."""
    return make() if len(texts) < FEW else await asyncio.to_thread(make)


async def _read(served: ServedEncoder, inputs: Sequence[str], truncate: int | None) -> list[Text]:
    return await tasks.read(served, inputs, cut=truncate is not None, to=truncate)
