"""Embeddings as OpenAI answers them: encoders', and means of causal models' hidden states."""

import asyncio
import base64
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.wire.embeddings import EmbeddingsRequest
from app.wire.engine_metadata import Observation, of_lengths
from worker.inference.encoders import tasks
from worker.inference.encoders.registry import ServedEncoder
from worker.inference.encoders.responses import Reply, as_json
from worker.inference.encoders.telemetry import observe
from worker.inference.engine_thread import EngineThread
from worker.inference.messages import Event, Failed, Pooled, Request, SamplingParams
from worker.inference.registry import LoadedBase, Served
from worker.inference.vectors import of_length_1, shortened

# In one request, as at OpenAI, by whose bound clients divide their texts.
MOST_TOKENS = 300_000
# Texts of one request that wait for the engine at a time, so that a large one leaves room for
# the requests of others.
AT_ONCE = 16


async def of_encoder(asked: EmbeddingsRequest, served: ServedEncoder) -> Reply:
    """Raises InvalidRequest for a text that is too long and must not be cut, and for too many."""
    tasks.task_of(served, "embedding")
    # Where the tokenizer works anyway: it must not be used by two threads at once.
    given = await tasks.reading(served, partial(_as_texts, asked, served), texts=len(asked.input))
    cut = asked.truncate_prompt_tokens
    texts = await tasks.read(served, given, cut=cut is not None, to=cut)
    _require_few(sum(len(text.ids) for text in texts))
    computed = await tasks.computed(served, texts)
    return await asyncio.to_thread(
        lambda: _answer(asked, tasks.embed(computed), observe(served, texts))
    )


async def of_causal(asked: EmbeddingsRequest, served: Served, thread: EngineThread) -> Reply:
    """The mean of the states behind the last norm, of length 1.

    Raises InvalidRequest for a text that is too long and must not be cut, and for too many, and
    Unavailable.
    """
    prompts = await asyncio.to_thread(_read, asked, served.base)
    _require_few(sum(map(len, prompts)))
    turns = asyncio.Semaphore(AT_ONCE)

    async def pooled(prompt: list[int]) -> Sequence[float]:
        async with turns:
            return await _pooled(prompt, served, thread)

    coming = [asyncio.ensure_future(pooled(prompt)) for prompt in prompts]
    try:
        vectors = of_length_1(np.array(await asyncio.gather(*coming), dtype=np.float32))
    finally:
        for task in coming:
            task.cancel()
    return await asyncio.to_thread(_answer, asked, vectors, of_lengths(list(map(len, prompts))))


def _require_few(tokens: int) -> None:
    if tokens > MOST_TOKENS:
        # In the words that OpenAI's clients know.
        message = f"Requested {tokens} tokens, max {MOST_TOKENS} tokens per request"
        raise InvalidRequest(message, param="input", code="max_tokens_per_request")


def _as_texts(asked: EmbeddingsRequest, served: ServedEncoder) -> list[str]:
    return [_as_text(number, each, served) for number, each in enumerate(asked.input)]


def _as_text(number: int, given: str | list[int], served: ServedEncoder) -> str:
    """A tokenizer of words has no way to put its special tokens around ids."""
    if isinstance(given, str):
        return given
    tokenizer = served.engine.reader.tokenizer
    _check_ids(number, given, len(tokenizer))
    # The special ones are put around the text when it is read, again if it had them.
    return str(tokenizer.decode(given, skip_special_tokens=True))


def _check_ids(number: int, ids: list[int], size: int) -> None:
    if not all(0 <= id < size for id in ids):
        message = f"Invalid 'input[{number}]': this model has no such token."
        raise InvalidRequest(message, param="input", code="invalid_value")


def _read(asked: EmbeddingsRequest, base: LoadedBase) -> list[list[int]]:
    return [_ids(number, each, asked, base) for number, each in enumerate(asked.input)]


def _ids(
    number: int, given: str | list[int], asked: EmbeddingsRequest, base: LoadedBase
) -> list[int]:
    length, cut = base.renderer.context_length, asked.truncate_prompt_tokens
    if cut is None and isinstance(given, str) and base.renderer.fewest(given) > length:
        raise tasks.too_long(length, f"input[{number}]")
    ids = base.renderer.text(given) if isinstance(given, str) else given
    _check_ids(number, ids, base.vocabulary.size)
    if cut is not None:
        return ids[: min(cut, length) if cut > 0 else length]
    if len(ids) > length:
        raise tasks.too_long(length, f"input[{number}]")
    return ids


async def _pooled(prompt: list[int], served: Served, thread: EngineThread) -> Sequence[float]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Sequence[float]] = loop.create_future()

    def emit(event: Event) -> None:
        loop.call_soon_threadsafe(_settle, done, event)

    request = Request(
        prompt=prompt,
        choices=0,
        max_new_tokens=0,
        stop_ids=frozenset(),
        sampling=SamplingParams(),
        adapter=served.adapter,
        pooled=True,
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
    elif isinstance(event, Pooled):
        done.set_result(event.vector)


def _answer(asked: EmbeddingsRequest, vectors: NDArray[np.float32], observed: Observation) -> Reply:
    """As bytes at once: thousands of vectors as Python's numbers would take a second."""
    if asked.dimensions is not None:
        vectors = of_length_1(shortened(vectors, asked.dimensions))
    encoded = asked.encoding_format == "base64"
    document = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _as_base64(vector) if encoded else vector,
            }
            for index, vector in enumerate(vectors)
        ],
        "model": asked.model,
        "usage": {"prompt_tokens": observed.tokens, "total_tokens": observed.tokens},
    }
    return Reply(as_json(document), observed)


def _as_base64(vector: NDArray[np.float32]) -> str:
    """Little-endian float32, as OpenAI's SDK decodes it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
