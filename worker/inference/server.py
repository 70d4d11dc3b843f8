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
from app.errors import ApiError, InvalidRequest, ServiceUnavailable
from app.wire.completions import CompletionRequest
from app.wire.embeddings import EmbeddingsRequest
from app.wire.encoders import ClassifyRequest, InferenceRequest
from app.wire.engine import (
    ChatCompletionRequest,
    EngineModel,
    EngineModelList,
    LoadAdapterRequest,
    UnloadAdapterRequest,
)
from worker.inference import http, metrics
from worker.inference.auth import EngineKeyMiddleware
from worker.inference.chat import ChatCompletionBuilder
from worker.inference.completions import CompletionBuilder, tokenize_prompts
from worker.inference.embeddings import embed_with_causal_model, embed_with_encoder
from worker.inference.encoders import routes
from worker.inference.encoders.registry import EncoderRegistry, ServedEncoder
from worker.inference.engine_thread import EngineThread
from worker.inference.generation import Generation, render_prompt
from worker.inference.registry import ModelRegistry

# Longest wait for the step at hand when the server ends.
FINAL_STEP_TIMEOUT_SECONDS = 5.0

Body = TypeVar("Body", bound=BaseModel)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerState:
    models: ModelRegistry
    encoders: EncoderRegistry
    thread: EngineThread
    max_body_bytes: int
    api_key: str | None = field(default=None, repr=False)
    started_at: int = field(default_factory=lambda: int(time.time()))


def create_app(parts: ServerState) -> FastAPI:
    app = FastAPI(
        title="Luthier engine", lifespan=_lifespan, openapi_url=None, redirect_slashes=False
    )
    app.state.parts = parts
    if parts.api_key is not None:
        app.add_middleware(EngineKeyMiddleware, key=parts.api_key)
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", get_metrics)
    app.add_api_route("/v1/models", list_models)
    app.add_api_route("/v1/chat/completions", chat_completions, methods=["POST"])
    app.add_api_route("/v1/completions", completions, methods=["POST"])
    app.add_api_route("/v1/classify", classify, methods=["POST"])
    app.add_api_route("/v1/embeddings", embeddings, methods=["POST"])
    app.add_api_route("/models/{model:path}", infer, methods=["POST"])
    app.add_api_route("/v1/load_lora_adapter", load_lora_adapter, methods=["POST"])
    app.add_api_route("/v1/unload_lora_adapter", unload_lora_adapter, methods=["POST"])
    for kind in (ApiError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, http.handle_error)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: ServerState = app.state.parts
    parts.thread.start()
    warming = asyncio.create_task(parts.models.warm_up())
    warming.add_done_callback(lambda task: _stop_if_failed(task, parts.thread))
    yield
    warming.cancel()
    parts.thread.stop()
    # It must not speak to the event loop when that is closed.
    await asyncio.to_thread(parts.thread.join, FINAL_STEP_TIMEOUT_SECONDS)


def _stop_if_failed(warming: asyncio.Task[None], thread: EngineThread) -> None:
    """An engine that cannot load its first model ends, so that whoever started it sees why."""
    if warming.cancelled() or warming.exception() is None:
        return
    log.critical("engine.cannot_start", reason=str(warming.exception()))
    thread.fail()


async def health(request: Request) -> Response:
    if not _state(request).models.is_ready:
        raise ServiceUnavailable("The first model is still being loaded.")
    return JSONResponse({"status": "ok"})


async def get_metrics(request: Request) -> Response:
    return PlainTextResponse(
        metrics.render(_state(request).models.list_engines()), media_type=metrics.CONTENT_TYPE
    )


async def list_models(request: Request) -> Response:
    parts = _state(request)
    data = [
        EngineModel(id=name, object="model", created=parts.started_at, owned_by="luthier")
        for name in (*parts.models.list_names(), *parts.encoders.list_names())
    ]
    return http.json_response(EngineModelList(object="list", data=data))


async def load_lora_adapter(request: Request) -> Response:
    asked = await _read_body(request, LoadAdapterRequest)
    parts = _state(request)
    if await parts.encoders.is_encoder_adapter(asked):
        await parts.encoders.load_adapter(asked)
    else:
        await parts.models.load_adapter(asked)
    return JSONResponse({"status": "loaded", "lora_name": asked.lora_name})


async def unload_lora_adapter(request: Request) -> Response:
    asked = await _read_body(request, UnloadAdapterRequest)
    parts = _state(request)
    known = parts.encoders.has_model(asked.lora_name)
    (parts.encoders if known else parts.models).unload_adapter(asked.lora_name)
    return JSONResponse({"status": "unloaded", "lora_name": asked.lora_name})


async def chat_completions(request: Request) -> Response:
    parts = _state(request)
    asked = await _read_body(request, ChatCompletionRequest)
    if parts.encoders.has_model(asked.model):
        return await _chat_with_classifier(request, asked)
    served = await parts.models.resolve(asked.model)
    prompt = await render_prompt(asked, served.base)
    generation = Generation(prompt, asked, served, parts.thread)
    generation.submit()
    chat = ChatCompletionBuilder(asked, generation)
    headers = http.metadata_headers(chat.metadata())
    try:
        if not asked.stream:
            return http.json_response(
                await http.cancel_on_disconnect(request, chat.build()), headers
            )
        first = await http.cancel_on_disconnect(request, chat.first_update())
    except BaseException:
        generation.close()
        raise
    return http.EventStreamResponse(chat.stream(first), generation, headers)


async def completions(request: Request) -> Response:
    parts = _state(request)
    asked = await _read_body(request, CompletionRequest)
    if parts.encoders.has_model(asked.model):
        message = f"The model `{asked.model}` does not write texts."
        raise InvalidRequest(message, param="model")
    served = await parts.models.resolve(asked.model)
    prompts = await tokenize_prompts(asked, served.base)
    texts = CompletionBuilder(asked, prompts, served, parts.thread)
    headers = http.metadata_headers(texts.metadata())
    try:
        texts.submit()
        if not asked.stream:
            return http.json_response(
                await http.cancel_on_disconnect(request, texts.build()), headers
            )
        first = await http.cancel_on_disconnect(request, texts.first_update())
    except BaseException:
        texts.close()
        raise
    return http.EventStreamResponse(texts.stream(first), texts, headers)


async def _chat_with_classifier(request: Request, asked: ChatCompletionRequest) -> Response:
    served = await _state(request).encoders.resolve(asked.model)
    answer, seen = await http.cancel_on_disconnect(request, routes.classify_chat(asked, served))
    if not asked.stream:
        return http.json_response(answer, http.metadata_headers(seen))
    events = routes.stream_chat(answer, asked)
    return StreamingResponse(
        events, media_type="text/event-stream", headers=http.metadata_headers(seen)
    )


async def classify(request: Request) -> Response:
    asked = await _read_body(request, ClassifyRequest)
    served = await _resolve_encoder(request, asked.model)
    return http.encoded_response(
        await http.cancel_on_disconnect(request, routes.classify(asked, served))
    )


async def embeddings(request: Request) -> Response:
    parts = _state(request)
    asked = await _read_body(request, EmbeddingsRequest)
    if parts.encoders.has_model(asked.model):
        encoder = await parts.encoders.resolve(asked.model)
        return http.encoded_response(
            await http.cancel_on_disconnect(request, embed_with_encoder(asked, encoder))
        )
    causal = await parts.models.resolve(asked.model)
    return http.encoded_response(
        await http.cancel_on_disconnect(
            request, embed_with_causal_model(asked, causal, parts.thread)
        )
    )


async def infer(request: Request, model: str) -> Response:
    asked = await _read_body(request, InferenceRequest)
    served = await _resolve_encoder(request, model)
    return http.encoded_response(
        await http.cancel_on_disconnect(request, routes.infer(asked, served))
    )


async def _resolve_encoder(request: Request, name: str) -> ServedEncoder:
    """Raises what resolving raises, and InvalidRequest for a model that only writes."""
    parts = _state(request)
    if parts.models.has_model(name):
        message = f"The model `{name}` is no encoder; ask it in a chat."
        raise InvalidRequest(message, param="model")
    return await parts.encoders.resolve(name)


def _state(request: Request) -> ServerState:
    parts: ServerState = request.app.state.parts
    return parts


async def _read_body(request: Request, kind: type[Body]) -> Body:
    return await http.read_body(request, kind, max_bytes=_state(request).max_body_bytes)
