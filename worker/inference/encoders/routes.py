"""Encoders over HTTP: classes, Hugging Face's tasks, and a classifier that chats."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.wire import encoders as wire
from app.wire.engine import ChatCompletion, ChatCompletionRequest
from app.wire.engine_metadata import Observation
from worker.encoding.tokenizer import Text
from worker.inference.encoders import classifier_chat, question_answering, responses, tasks
from worker.inference.encoders.hf_parameters import chosen
from worker.inference.encoders.registry import ServedEncoder
from worker.inference.encoders.responses import Reply
from worker.inference.encoders.telemetry import observe
from worker.inference.vectors import of_length_1, shortened

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
        return responses.classified(asked, task.labels, found, observe(served, texts, found))

    return await _made(texts, make)


async def infer(asked: wire.InferenceRequest, served: ServedEncoder) -> Reply:
    """What Hugging Face's inference API answers for the model's task."""
    if isinstance(asked.inputs, wire.QuestionInput):
        tasks.task_of(served, "question_answering")
        return await _answer(asked.inputs, served, chosen(asked, "question_answering"))
    task = tasks.task_of(served, "classification", "token_classification", "embedding")
    plain = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
    options = chosen(asked, task.method)
    cut = bool(options.truncate)
    texts = await tasks.read(served, plain, cut=cut, route=tasks.HUGGING_FACE)
    each = task.method == "token_classification"
    computed = await tasks.computed(served, texts, each=each)
    return await _made(texts, partial(_inferred, asked, options, served, plain, texts, computed))


def _inferred(
    asked: wire.InferenceRequest,
    options: wire.InferenceParameters,
    served: ServedEncoder,
    plain: Sequence[str],
    texts: Sequence[Text],
    computed: Sequence[Tensor],
) -> Reply:
    task = tasks.task_of(served)
    if task.method == "embedding":
        return Reply(responses.as_json(_vectors(computed, options)), observe(served, texts))
    if task.method == "token_classification":
        found = tasks.tag(served, plain, texts, computed, options)
        shown = found[0] if isinstance(asked.inputs, str) else found
        return Reply(responses.as_json(shown), observe(served, texts))
    classes = tasks.classify(served, computed)
    scores = classes.probabilities
    if options.function_to_apply is not None:
        scores = tasks.transformed(served, computed, options.function_to_apply)
    ranked = [responses.ranked(task.labels, row, options.top_k) for row in scores]
    return Reply(responses.as_json(ranked), observe(served, texts, classes))


def _vectors(computed: Sequence[Tensor], options: wire.InferenceParameters) -> NDArray[np.float32]:
    normalize = options.normalize is not False
    vectors = tasks.embed(computed, normalize=normalize)
    if options.dimensions is None:
        return vectors
    first = shortened(vectors, options.dimensions)
    return of_length_1(first) if normalize else first


async def _answer(
    asked: wire.QuestionInput, served: ServedEncoder, options: wire.InferenceParameters
) -> Reply:
    cut = bool(options.truncate)
    windows = await question_answering.windows(served, asked.question, asked.context, cut=cut)
    states = await tasks.computed(served, windows, each=True)

    def make() -> Reply:
        found = question_answering.answer(served, asked.context, windows, states, options)
        return Reply(responses.as_json(found), observe(served, windows))

    return await _made(windows, make)


async def chat(
    asked: ChatCompletionRequest, served: ServedEncoder
) -> tuple[ChatCompletion, Observation]:
    """A classifier's answer to the last user's message."""
    task = tasks.task_of(served, "classification")
    texts = await tasks.read(served, [classifier_chat.said(asked)], cut=False, route=tasks.CHAT)
    found = tasks.classify(served, await tasks.computed(served, texts))
    answer = classifier_chat.completion(asked, task.labels, found, responses.count(texts))
    seen = observe(served, texts, found)
    return answer, seen.model_copy(update={"answer_id": answer.id})


async def streamed(whole: ChatCompletion, asked: ChatCompletionRequest) -> AsyncIterator[bytes]:
    """An answer that is there at once, as the events of a stream."""
    for event in classifier_chat.streamed(whole, asked):
        yield event


async def _made(texts: Sequence[Any], make: Callable[[], Made]) -> Made:
    """What `make` makes, beside the event loop if it takes long."""
    return make() if len(texts) < FEW else await asyncio.to_thread(make)


async def _read(served: ServedEncoder, inputs: Sequence[str], truncate: int | None) -> list[Text]:
    return await tasks.read(served, inputs, cut=truncate is not None, to=truncate)
