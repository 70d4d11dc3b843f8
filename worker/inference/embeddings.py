"""Embeddings as OpenAI answers them: encoders', and means of causal models' hidden states."""

import asyncio
import base64
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.wire.embeddings import EmbeddingsRequest
from app.wire.engine_metadata import EngineMetadata, metadata_from_lengths
from worker.inference.encoders import tasks
from worker.inference.encoders.registry import ServedEncoder
from worker.inference.encoders.responses import EncodedResponse, dump_json
from worker.inference.encoders.telemetry import build_metadata
from worker.inference.engine_thread import EngineThread
from worker.inference.messages import Event, Failed, PooledOutput, Request, SamplingParams
from worker.inference.registry import LoadedModel, ServedCausalModel
from worker.inference.vectors import l2_normalize, truncate_dims

# In one request, as at OpenAI, by whose bound clients divide their texts.
MAX_TOKENS_PER_REQUEST = 300_000
# Texts of one request that wait for the engine at a time, so that a large one leaves room for
# the requests of others.
MAX_CONCURRENT_TEXTS = 16


async def embed_with_encoder(asked: EmbeddingsRequest, served: ServedEncoder) -> EncodedResponse:
    """Raises InvalidRequest for a text that is too long and must not be cut, and for too many."""
    tasks.get_task(served, "embedding")
    # Where the tokenizer works anyway: it must not be used by two threads at once.
    given = await tasks.in_tokenizer_thread(
        served, partial(_decode_inputs, asked, served), num_texts=len(asked.input)
    )
    cut = asked.truncate_prompt_tokens
    texts = await tasks.tokenize(served, given, truncate=cut is not None, max_length=cut)
    _check_token_limit(sum(len(text.ids) for text in texts))
    computed = await tasks.forward(served, texts)
    return await asyncio.to_thread(
        lambda: _build_response(asked, tasks.embed(computed), build_metadata(served, texts))
    )


async def embed_with_causal_model(
    asked: EmbeddingsRequest, served: ServedCausalModel, thread: EngineThread
) -> EncodedResponse:
    """The mean of the states behind the last norm, of length 1.

    Raises InvalidRequest for a text that is too long and must not be cut, and for too many, and
    Unavailable.
    """
    prompts = await asyncio.to_thread(_tokenize_inputs, asked, served.base)
    _check_token_limit(sum(map(len, prompts)))
    turns = asyncio.Semaphore(MAX_CONCURRENT_TEXTS)

    async def pooled(prompt: list[int]) -> Sequence[float]:
        async with turns:
            return await _pool(prompt, served, thread)

    coming = [asyncio.ensure_future(pooled(prompt)) for prompt in prompts]
    try:
        vectors = l2_normalize(np.array(await asyncio.gather(*coming), dtype=np.float32))
    finally:
        for task in coming:
            task.cancel()
    return await asyncio.to_thread(
        _build_response, asked, vectors, metadata_from_lengths(list(map(len, prompts)))
    )


def _check_token_limit(tokens: int) -> None:
    if tokens > MAX_TOKENS_PER_REQUEST:
        # In the words that OpenAI's clients know.
        message = f"Requested {tokens} tokens, max {MAX_TOKENS_PER_REQUEST} tokens per request"
        raise InvalidRequest(message, param="input", code="max_tokens_per_request")


def _decode_inputs(asked: EmbeddingsRequest, served: ServedEncoder) -> list[str]:
    return [_decode_input(number, each, served) for number, each in enumerate(asked.input)]


def _decode_input(number: int, given: str | list[int], served: ServedEncoder) -> str:
    """A tokenizer of words has no way to put its special tokens around ids."""
    if isinstance(given, str):
        return given
    tokenizer = served.engine.tokenizer.hf_tokenizer
    _check_token_ids(number, given, len(tokenizer))
    # The special ones are put around the text when it is read, again if it had them.
    return str(tokenizer.decode(given, skip_special_tokens=True))


def _check_token_ids(number: int, ids: list[int], size: int) -> None:
    if not all(0 <= id < size for id in ids):
        message = f"Invalid 'input[{number}]': this model has no such token."
        raise InvalidRequest(message, param="input", code="invalid_value")


def _tokenize_inputs(asked: EmbeddingsRequest, base: LoadedModel) -> list[list[int]]:
    return [_tokenize_input(number, each, asked, base) for number, each in enumerate(asked.input)]


def _tokenize_input(
    number: int, given: str | list[int], asked: EmbeddingsRequest, base: LoadedModel
) -> list[int]:
    length, cut = base.renderer.context_length, asked.truncate_prompt_tokens
    if cut is None and isinstance(given, str) and base.renderer.min_token_count(given) > length:
        raise tasks.too_long_error(length, f"input[{number}]")
    ids = base.renderer.encode_text(given) if isinstance(given, str) else given
    _check_token_ids(number, ids, base.vocabulary.size)
    if cut is not None:
        return ids[: min(cut, length) if cut > 0 else length]
    if len(ids) > length:
        raise tasks.too_long_error(length, f"input[{number}]")
    return ids


async def _pool(
    prompt: list[int], served: ServedCausalModel, thread: EngineThread
) -> Sequence[float]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Sequence[float]] = loop.create_future()

    def emit(event: Event) -> None:
        loop.call_soon_threadsafe(_settle, done, event)

    request = Request(
        prompt=prompt,
        num_choices=0,
        max_new_tokens=0,
        stop_ids=frozenset(),
        sampling=SamplingParams(),
        adapter=served.adapter,
        pooling=True,
        emit=emit,
    )
    thread.submit(served.base.engine, request)
    try:
        return await done
    finally:
        if done.cancelled():
            thread.abort(served.base.engine, request)


def _settle(done: asyncio.Future[Sequence[float]], event: Event) -> None:
    if done.done():
        return
    if isinstance(event, Failed):
        done.set_exception(event.error)
    elif isinstance(event, PooledOutput):
        done.set_result(event.vector)


def _build_response(
    asked: EmbeddingsRequest, vectors: NDArray[np.float32], observed: EngineMetadata
) -> EncodedResponse:
    """As bytes at once: thousands of vectors as Python's numbers would take a second."""
    if asked.dimensions is not None:
        vectors = l2_normalize(truncate_dims(vectors, asked.dimensions))
    encoded = asked.encoding_format == "base64"
    document = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _to_base64(vector) if encoded else vector,
            }
            for index, vector in enumerate(vectors)
        ],
        "model": asked.model,
        "usage": {"prompt_tokens": observed.tokens, "total_tokens": observed.tokens},
    }
    return EncodedResponse(dump_json(document), observed)


def _to_base64(vector: NDArray[np.float32]) -> str:
    """Little-endian float32, as OpenAI's SDK decodes it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
