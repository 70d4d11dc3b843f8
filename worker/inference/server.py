"""The engine over HTTP, in OpenAI's shape: its parts and its routes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import logs
from app.errors import ApiError, InvalidRequest, Unavailable
from app.wire.completions import CompletionRequest
from app.wire.embeddings import EmbeddingsRequest
from app.wire.encoders import ClassifyRequest, InferenceRequest
from app.wire.engine import (
    ChatCompletionRequest,
    LoadAdapterRequest,
    ServedModel,
    ServedModels,
    UnloadAdapterRequest,
)
from worker.inference import http, metrics
from worker.inference.auth import Lock
from worker.inference.chat import Chat
from worker.inference.completions import Completions, read_prompts
from worker.inference.embeddings import of_causal, of_encoder
from worker.inference.encoders import routes
from worker.inference.encoders.registry import EncoderModels, ServedEncoder
from worker.inference.engine_thread import EngineThread
from worker.inference.generation import Generation, render
from worker.inference.registry import Models

# Longest wait for the step at hand when the server ends.
LAST_STEP_SECONDS = 5.0

Body = TypeVar("Body", bound=BaseModel)

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    models: Models
    encoders: EncoderModels
    thread: EngineThread
    max_body_bytes: int
    key: str | None = field(default=None, repr=False)
    started: int = field(default_factory=lambda: int(time.time()))


def create_app(parts: Parts) -> FastAPI:
    app = FastAPI(
        title="Luthier engine", lifespan=_lifespan, openapi_url=None, redirect_slashes=False
    )
    app.state.parts = parts
    if parts.key is not None:
        app.add_middleware(Lock, key=parts.key)
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", numbers)
    app.add_api_route("/v1/models", models)
    app.add_api_route("/v1/chat/completions", chat_completions, methods=["POST"])
    app.add_api_route("/v1/completions", completions, methods=["POST"])
    app.add_api_route("/v1/classify", classify, methods=["POST"])
    app.add_api_route("/v1/embeddings", embeddings, methods=["POST"])
    app.add_api_route("/models/{model:path}", infer, methods=["POST"])
    app.add_api_route("/v1/load_lora_adapter", load_lora_adapter, methods=["POST"])
    app.add_api_route("/v1/unload_lora_adapter", unload_lora_adapter, methods=["POST"])
    for kind in (ApiError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, http.answer_error)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    parts.thread.start()
    warming = asyncio.create_task(parts.models.warm_up())
    warming.add_done_callback(lambda task: _check(task, parts.thread))
    yield
    warming.cancel()
    parts.thread.stop()
    # It must not speak to the event loop when that is closed.
    await asyncio.to_thread(parts.thread.join, LAST_STEP_SECONDS)


def _check(warming: asyncio.Task[None], thread: EngineThread) -> None:
    """An engine that cannot load its first model ends, so that whoever started it sees why."""
    if warming.cancelled() or warming.exception() is None:
        return
    log.critical("engine.cannot_start", reason=str(warming.exception()))
    thread.give_up()


async def health(request: Request) -> Response:
    if not _parts(request).models.ready:
        raise Unavailable("The first model is still being loaded.")
    return JSONResponse({"status": "ok"})


async def numbers(request: Request) -> Response:
    return PlainTextResponse(
        metrics.render(_parts(request).models.engines()), media_type=metrics.MEDIA_TYPE
    )


async def models(request: Request) -> Response:
    parts = _parts(request)
    data = [
        ServedModel(id=name, object="model", created=parts.started, owned_by="luthier")
        for name in (*parts.models.names(), *parts.encoders.names())
    ]
    return http.as_json(ServedModels(object="list", data=data))


async def load_lora_adapter(request: Request) -> Response:
    asked = await _read(request, LoadAdapterRequest)
    parts = _parts(request)
    if await parts.encoders.is_task(asked):
        await parts.encoders.load_adapter(asked)
    else:
        await parts.models.load_adapter(asked)
    return JSONResponse({"status": "loaded", "lora_name": asked.lora_name})


async def unload_lora_adapter(request: Request) -> Response:
    asked = await _read(request, UnloadAdapterRequest)
    parts = _parts(request)
    known = parts.encoders.knows(asked.lora_name)
    (parts.encoders if known else parts.models).unload_adapter(asked.lora_name)
    return JSONResponse({"status": "unloaded", "lora_name": asked.lora_name})


async def chat_completions(request: Request) -> Response:
    parts = _parts(request)
    asked = await _read(request, ChatCompletionRequest)
    if parts.encoders.knows(asked.model):
        return await _classifier_chat(request, asked)
    served = await parts.models.resolve(asked.model)
    prompt = await render(asked, served.base)
    generation = Generation(prompt, asked, served, parts.thread)
    generation.submit()
    chat = Chat(asked, generation)
    headers = http.observed(chat.observation())
    try:
        if not asked.stream:
            return http.as_json(await http.unless_gone(request, chat.whole()), headers)
        first = await http.unless_gone(request, chat.first())
    except BaseException:
        generation.close()
        raise
    return http.TokenStream(chat.stream(first), generation, headers)


async def completions(request: Request) -> Response:
    parts = _parts(request)
    asked = await _read(request, CompletionRequest)
    if parts.encoders.knows(asked.model):
        message = f"The model `{asked.model}` does not write texts."
        raise InvalidRequest(message, param="model")
    served = await parts.models.resolve(asked.model)
    prompts = await read_prompts(asked, served.base)
    texts = Completions(asked, prompts, served, parts.thread)
    headers = http.observed(texts.observation())
    try:
        texts.submit()
        if not asked.stream:
            return http.as_json(await http.unless_gone(request, texts.whole()), headers)
        first = await http.unless_gone(request, texts.first())
    except BaseException:
        texts.close()
        raise
    return http.TokenStream(texts.stream(first), texts, headers)


async def _classifier_chat(request: Request, asked: ChatCompletionRequest) -> Response:
    served = await _parts(request).encoders.resolve(asked.model)
    answer, seen = await http.unless_gone(request, routes.chat(asked, served))
    if not asked.stream:
        return http.as_json(answer, http.observed(seen))
    events = routes.streamed(answer, asked)
    return StreamingResponse(events, media_type="text/event-stream", headers=http.observed(seen))


async def classify(request: Request) -> Response:
    asked = await _read(request, ClassifyRequest)
    served = await _with_task(request, asked.model)
    return http.sent(await http.unless_gone(request, routes.classify(asked, served)))


async def embeddings(request: Request) -> Response:
    parts = _parts(request)
    asked = await _read(request, EmbeddingsRequest)
    if parts.encoders.knows(asked.model):
        encoder = await parts.encoders.resolve(asked.model)
        return http.sent(await http.unless_gone(request, of_encoder(asked, encoder)))
    causal = await parts.models.resolve(asked.model)
    return http.sent(await http.unless_gone(request, of_causal(asked, causal, parts.thread)))


async def infer(request: Request, model: str) -> Response:
    asked = await _read(request, InferenceRequest)
    served = await _with_task(request, model)
    return http.sent(await http.unless_gone(request, routes.infer(asked, served)))


async def _with_task(request: Request, name: str) -> ServedEncoder:
    """Raises what resolving raises, and InvalidRequest for a model that only writes."""
    parts = _parts(request)
    if parts.models.knows(name):
        message = f"The model `{name}` is no encoder; ask it in a chat."
        raise InvalidRequest(message, param="model")
    return await parts.encoders.resolve(name)


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def _read(request: Request, kind: type[Body]) -> Body:
    return await http.read(request, kind, most=_parts(request).max_body_bytes)
