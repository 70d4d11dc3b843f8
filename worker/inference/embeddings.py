"""OpenAI's embeddings, of encoders and of causal models (mean-pooled hidden states)."""

import asyncio
import base64
from collections.abc import Sequence
from functools import partial

import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.wire.embeddings import EmbeddingsRequest
from app.wire.engine_metadata import EngineMetadata, metadata_from_lengths
from worker.inference.encoders import tasks
from worker.inference.encoders.responses import EncodedResponse, dump_json
from worker.inference.encoders.served_encoder import ServedEncoder
from worker.inference.encoders.telemetry import build_metadata
from worker.inference.engine_thread import EngineThread
from worker.inference.loaded_model import LoadedModel
from worker.inference.messages import Event, Failed, PooledOutput, Request, SamplingParams
from worker.inference.registry import ServedCausalModel
from worker.inference.vectors import l2_normalize, truncate_dims

# Texts of one request queued in the engine at a time, so that a large request leaves room for
# others.
MAX_CONCURRENT_TEXTS = 16


async def embed_with_encoder(request: EmbeddingsRequest, served: ServedEncoder) -> EncodedResponse:
    """Embed texts with an encoder.

    Raises ServiceUnavailable, and InvalidRequest for too many tokens or for a text that is too
    long, unless truncation is requested.
    """
    tasks.get_task(served, "embedding")
    inputs = await _decode_inputs(request.input, served)
    limit = request.truncate_prompt_tokens
    texts = await tasks.tokenize(served, inputs, truncate=limit is not None, max_length=limit)
    vectors = await tasks.forward(served, texts)
    return await asyncio.to_thread(
        lambda: _build_response(request, tasks.embed(vectors), build_metadata(served, texts))
    )


async def embed_with_causal_model(
    request: EmbeddingsRequest, served: ServedCausalModel, thread: EngineThread, project: str
) -> EncodedResponse:
    """Embed texts with a causal model: the L2-normalized mean of its final hidden states.

    Raises ServiceUnavailable, and InvalidRequest for too many tokens or for a text that is too
    long, unless truncation is requested.
    """
    rendering = served.base.rendering
    prompts = [
        await rendering.run(
            project, len(text), partial(_tokenize_input, index, text, request, served.base)
        )
        for index, text in enumerate(request.input)
    ]
    tasks.check_token_limit(sum(map(len, prompts)))
    semaphore = asyncio.Semaphore(MAX_CONCURRENT_TEXTS)

    async def pool(prompt: list[int]) -> Sequence[float]:
        async with semaphore:
            return await _pool(prompt, served, thread, project)

    futures = [asyncio.ensure_future(pool(prompt)) for prompt in prompts]
    try:
        vectors = l2_normalize(np.array(await asyncio.gather(*futures), dtype=np.float32))
    finally:
        for future in futures:
            future.cancel()
    return await asyncio.to_thread(
        _build_response, request, vectors, metadata_from_lengths(list(map(len, prompts)))
    )


async def _decode_inputs(inputs: Sequence[str | list[int]], served: ServedEncoder) -> Sequence[str]:
    """Decode token ids to text: an encoder's tokenizer cannot add special tokens around ids.

    Raises InvalidRequest for an id that is no token.
    """
    texts = [text for text in inputs if isinstance(text, str)]
    if len(texts) == len(inputs):
        return texts
    for index, text in enumerate(inputs):
        _check_token_ids(index, text, len(served.engine.tokenizer.hf_tokenizer))
    # In the tokenizer's thread: it must not be used by two threads at once.
    return await tasks.map_in_tokenizer_thread(served, partial(_decode_some, served), inputs)


def _decode_some(served: ServedEncoder, inputs: Sequence[str | list[int]]) -> list[str]:
    # Without special tokens, which tokenization adds again.
    decode = partial(served.engine.tokenizer.hf_tokenizer.decode, skip_special_tokens=True)
    return [text if isinstance(text, str) else str(decode(text)) for text in inputs]


def _check_token_ids(index: int, text: str | list[int], size: int) -> None:
    if not isinstance(text, str) and not all(0 <= id < size for id in text):
        message = f"Invalid 'input[{index}]': this model has no such token."
        raise InvalidRequest(message, param="input", code="invalid_value")


def _tokenize_input(
    index: int, text: str | list[int], request: EmbeddingsRequest, base: LoadedModel
) -> list[int]:
    length, limit = base.renderer.context_length, request.truncate_prompt_tokens
    if limit is None and isinstance(text, str) and base.renderer.min_token_count(text) > length:
        raise tasks.too_long_error(length, f"input[{index}]")
    ids = base.renderer.encode_text(text) if isinstance(text, str) else text
    _check_token_ids(index, ids, base.vocabulary.size)
    if limit is not None:
        return ids[: min(limit, length) if limit > 0 else length]
    if len(ids) > length:
        raise tasks.too_long_error(length, f"input[{index}]")
    return ids


async def _pool(
    prompt: list[int], served: ServedCausalModel, thread: EngineThread, project: str
) -> Sequence[float]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[float]] = loop.create_future()

    def emit(event: Event) -> None:
        loop.call_soon_threadsafe(_resolve_future, future, event)

    request = Request(
        prompt=prompt,
        num_choices=0,
        project=project,
        max_new_tokens=0,
        stop_ids=frozenset(),
        sampling=SamplingParams(),
        adapter=served.adapter,
        pooling=True,
        emit=emit,
    )
    thread.submit(served.base.engine, request)
    try:
        return await future
    finally:
        if future.cancelled():
            thread.abort(served.base.engine, request)


def _resolve_future(future: asyncio.Future[Sequence[float]], event: Event) -> None:
    if future.done():
        return
    if isinstance(event, Failed):
        future.set_exception(event.error)
    elif isinstance(event, PooledOutput):
        future.set_result(event.vector)


def _build_response(
    request: EmbeddingsRequest, vectors: NDArray[np.float32], metadata: EngineMetadata
) -> EncodedResponse:
    """Serialize directly to bytes: thousands of vectors as Python floats would take a second."""
    if request.dimensions is not None:
        vectors = l2_normalize(truncate_dims(vectors, request.dimensions))
    is_base64 = request.encoding_format == "base64"
    document = {
        "object": "list",
        # A vector at a time: orjson holds the interpreter lock, and 2,048 vectors take it 0.1 s.
        "data": [
            orjson.Fragment(
                dump_json(
                    {
                        "object": "embedding",
                        "index": index,
                        "embedding": _to_base64(vector) if is_base64 else vector,
                    }
                )
            )
            for index, vector in enumerate(vectors)
        ],
        "model": request.model,
        "usage": {"prompt_tokens": metadata.tokens, "total_tokens": metadata.tokens},
    }
    return EncodedResponse(dump_json(document), metadata)


def _to_base64(vector: NDArray[np.float32]) -> str:
    """Base64 of little-endian float32, OpenAI's encoding."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
