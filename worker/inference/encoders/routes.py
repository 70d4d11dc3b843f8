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
from app.wire.engine_metadata import EngineMetadata
from worker.encoding.tokenizer import TokenizedText
from worker.inference.encoders import classifier_chat, question_answering, responses, tasks
from worker.inference.encoders.hf_parameters import select_parameters
from worker.inference.encoders.registry import ServedEncoder
from worker.inference.encoders.responses import EncodedResponse
from worker.inference.encoders.telemetry import build_metadata
from worker.inference.vectors import l2_normalize, truncate_dims

# Answers on fewer texts are made faster than a thread takes them over.
MIN_TEXTS_FOR_THREAD = 16

Made = TypeVar("Made")


async def classify(asked: wire.ClassifyRequest, served: ServedEncoder) -> EncodedResponse:
    """vLLM's answer."""
    task = tasks.get_task(served, "classification")
    texts = await _tokenize(served, asked.input, asked.truncate_prompt_tokens)
    vectors = await tasks.forward(served, texts)

    def make() -> EncodedResponse:
        found = tasks.classify(served, vectors)
        return responses.classify_response(
            asked, task.labels, found, build_metadata(served, texts, found)
        )

    return await _run_maybe_in_thread(texts, make)


async def infer(asked: wire.InferenceRequest, served: ServedEncoder) -> EncodedResponse:
    """What Hugging Face's inference API answers for the model's task."""
    if isinstance(asked.inputs, wire.QuestionInput):
        tasks.get_task(served, "question_answering")
        return await _answer_question(
            asked.inputs, served, select_parameters(asked, "question_answering")
        )
    task = tasks.get_task(served, "classification", "token_classification", "embedding")
    plain = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
    options = select_parameters(asked, task.method)
    cut = bool(options.truncate)
    texts = await tasks.tokenize(served, plain, truncate=cut, style=tasks.HUGGING_FACE)
    each = task.method == "token_classification"
    computed = await tasks.forward(served, texts, per_token=each)
    return await _run_maybe_in_thread(
        texts, partial(_build_inference_response, asked, options, served, plain, texts, computed)
    )


def _build_inference_response(
    asked: wire.InferenceRequest,
    options: wire.InferenceParameters,
    served: ServedEncoder,
    plain: Sequence[str],
    texts: Sequence[TokenizedText],
    computed: Sequence[Tensor],
) -> EncodedResponse:
    task = tasks.get_task(served)
    if task.method == "embedding":
        return EncodedResponse(
            responses.dump_json(_embed(computed, options)), build_metadata(served, texts)
        )
    if task.method == "token_classification":
        found = tasks.tag_entities(served, plain, texts, computed, options)
        shown = found[0] if isinstance(asked.inputs, str) else found
        return EncodedResponse(responses.dump_json(shown), build_metadata(served, texts))
    classes = tasks.classify(served, computed)
    scores = classes.probabilities
    if options.function_to_apply is not None:
        scores = tasks.label_scores(served, computed, options.function_to_apply)
    ranked = [responses.rank_labels(task.labels, row, options.top_k) for row in scores]
    return EncodedResponse(responses.dump_json(ranked), build_metadata(served, texts, classes))


def _embed(computed: Sequence[Tensor], options: wire.InferenceParameters) -> NDArray[np.float32]:
    normalize = options.normalize is not False
    vectors = tasks.embed(computed, normalize=normalize)
    if options.dimensions is None:
        return vectors
    first = truncate_dims(vectors, options.dimensions)
    return l2_normalize(first) if normalize else first


async def _answer_question(
    asked: wire.QuestionInput, served: ServedEncoder, options: wire.InferenceParameters
) -> EncodedResponse:
    cut = bool(options.truncate)
    windows = await question_answering.tokenize_windows(
        served, asked.question, asked.context, truncate=cut
    )
    states = await tasks.forward(served, windows, per_token=True)

    def make() -> EncodedResponse:
        found = question_answering.extract_answers(served, asked.context, windows, states, options)
        return EncodedResponse(responses.dump_json(found), build_metadata(served, windows))

    return await _run_maybe_in_thread(windows, make)


async def classify_chat(
    asked: ChatCompletionRequest, served: ServedEncoder
) -> tuple[ChatCompletion, EngineMetadata]:
    """A classifier's answer to the last user's message."""
    task = tasks.get_task(served, "classification")
    texts = await tasks.tokenize(
        served, [classifier_chat.last_user_text(asked)], truncate=False, style=tasks.CHAT
    )
    found = tasks.classify(served, await tasks.forward(served, texts))
    answer = classifier_chat.build_completion(
        asked, task.labels, found, responses.count_tokens(texts)
    )
    seen = build_metadata(served, texts, found)
    return answer, seen.model_copy(update={"answer_id": answer.id})


async def stream_chat(whole: ChatCompletion, asked: ChatCompletionRequest) -> AsyncIterator[bytes]:
    """An answer that is there at once, as the events of a stream."""
    for event in classifier_chat.stream_events(whole, asked):
        yield event


async def _run_maybe_in_thread(texts: Sequence[Any], make: Callable[[], Made]) -> Made:
    """What `make` makes, beside the event loop if it takes long."""
    return make() if len(texts) < MIN_TEXTS_FOR_THREAD else await asyncio.to_thread(make)


async def _tokenize(
    served: ServedEncoder, inputs: Sequence[str], truncate: int | None
) -> list[TokenizedText]:
    return await tasks.tokenize(served, inputs, truncate=truncate is not None, max_length=truncate)
