"""Request handlers of encoders: classify, Hugging Face inference, and chat with a classifier."""

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
from worker.inference.encoders.responses import EncodedResponse
from worker.inference.encoders.served_encoder import ServedEncoder
from worker.inference.encoders.telemetry import build_metadata
from worker.inference.fingerprint import system_fingerprint
from worker.inference.vectors import l2_normalize, truncate_dims
from worker.modeling import choose_device

# A response on fewer texts is built faster than a thread is started.
MIN_TEXTS_FOR_THREAD = 16

Result = TypeVar("Result")


async def classify(request: wire.ClassifyRequest, served: ServedEncoder) -> EncodedResponse:
    """Handle vLLM's /v1/classify."""
    task = tasks.get_task(served, "classification")
    texts = await _tokenize(served, request.input, request.truncate_prompt_tokens)
    vectors = await tasks.forward(served, texts)

    def build() -> EncodedResponse:
        classification = tasks.classify(served, vectors)
        return responses.classify_response(
            request,
            task.labels,
            classification,
            build_metadata(served, texts, classification),
        )

    return await _run_maybe_in_thread(texts, build)


async def infer(request: wire.InferenceRequest, served: ServedEncoder) -> EncodedResponse:
    """Handle Hugging Face's inference API for the model's task."""
    if isinstance(request.inputs, wire.QuestionInput):
        tasks.get_task(served, "question_answering")
        return await _answer_question(
            request.inputs, served, select_parameters(request, "question_answering")
        )
    task = tasks.get_task(served, "classification", "token_classification", "embedding")
    inputs = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    options = select_parameters(request, task.method)
    truncate = bool(options.truncate)
    texts = await tasks.tokenize(served, inputs, truncate=truncate, style=tasks.HUGGING_FACE)
    per_token = task.method == "token_classification"
    vectors = await tasks.forward(served, texts, per_token=per_token, style=tasks.HUGGING_FACE)
    return await _run_maybe_in_thread(
        texts, partial(_build_inference_response, request, options, served, inputs, texts, vectors)
    )


def _build_inference_response(
    request: wire.InferenceRequest,
    options: wire.InferenceParameters,
    served: ServedEncoder,
    inputs: Sequence[str],
    texts: Sequence[TokenizedText],
    vectors: Sequence[Tensor],
) -> EncodedResponse:
    task = tasks.get_task(served)
    if task.method == "embedding":
        return EncodedResponse(
            responses.dump_json(_embed(vectors, options)), build_metadata(served, texts)
        )
    if task.method == "token_classification":
        entities = tasks.tag_entities(served, inputs, texts, vectors, options)
        content = entities[0] if isinstance(request.inputs, str) else entities
        return EncodedResponse(responses.dump_json(content), build_metadata(served, texts))
    classification = tasks.classify(served, vectors)
    scores = classification.probabilities
    if options.function_to_apply is not None:
        scores = tasks.label_scores(served, vectors, options.function_to_apply)
    ranked = [responses.rank_labels(task.labels, row, options.top_k) for row in scores]
    return EncodedResponse(
        responses.dump_json(ranked), build_metadata(served, texts, classification)
    )


def _embed(pooled: Sequence[Tensor], options: wire.InferenceParameters) -> NDArray[np.float32]:
    normalize = options.normalize is not False
    vectors = tasks.embed(pooled, normalize=normalize)
    if options.dimensions is None:
        return vectors
    truncated = truncate_dims(vectors, options.dimensions)
    return l2_normalize(truncated) if normalize else truncated


async def _answer_question(
    request: wire.QuestionInput, served: ServedEncoder, options: wire.InferenceParameters
) -> EncodedResponse:
    truncate = bool(options.truncate)
    windows = await question_answering.tokenize_windows(
        served, request.question, request.context, truncate=truncate
    )
    states = await tasks.forward(served, windows, per_token=True, style=tasks.HUGGING_FACE)

    def build() -> EncodedResponse:
        answers = question_answering.extract_answers(
            served, request.context, windows, states, options
        )
        return EncodedResponse(responses.dump_json(answers), build_metadata(served, windows))

    return await _run_maybe_in_thread(windows, build)


async def classify_chat(
    request: ChatCompletionRequest, served: ServedEncoder
) -> tuple[ChatCompletion, EngineMetadata]:
    """Classify the last user message, as a chat completion."""
    task = tasks.get_task(served, "classification")
    texts = await tasks.tokenize(
        served, [classifier_chat.last_user_text(request)], truncate=False, style=tasks.CHAT
    )
    classification = tasks.classify(served, await tasks.forward(served, texts))
    response = classifier_chat.build_completion(
        request,
        task.labels,
        classification,
        responses.count_tokens(texts),
        system_fingerprint=system_fingerprint("encoder", choose_device().type),
    )
    metadata = build_metadata(served, texts, classification)
    return response, metadata.model_copy(update={"response_id": response.id})


async def stream_chat(
    completion: ChatCompletion, request: ChatCompletionRequest
) -> AsyncIterator[bytes]:
    """Yield a finished response as the events of a stream."""
    for event in classifier_chat.stream_events(completion, request):
        yield event


async def _run_maybe_in_thread(texts: Sequence[Any], build: Callable[[], Result]) -> Result:
    """Call `build`, in a thread if there are many texts."""
    return build() if len(texts) < MIN_TEXTS_FOR_THREAD else await asyncio.to_thread(build)


async def _tokenize(
    served: ServedEncoder, inputs: Sequence[str], truncate: int | None
) -> list[TokenizedText]:
    return await tasks.tokenize(served, inputs, truncate=truncate is not None, max_length=truncate)
