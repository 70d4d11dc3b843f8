"""The engine's FastAPI application: its shared state and its OpenAI-compatible routes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import logs
from app.errors import ApiError, InvalidRequest, ServiceUnavailable
from app.http_server.response_pacing import ResponsePacing
from app.wire.completions import CompletionRequest
from app.wire.embeddings import EmbeddingsRequest
from app.wire.encoders import ClassifyRequest, InferenceRequest
from app.wire.engine import (
    ChatCompletionRequest,
    CheckTrainingRowsRequest,
    EngineModel,
    EngineModelList,
    LoadAdapterRequest,
    UnloadAdapterRequest,
)
from app.wire.training_rows import RenderTrainingRowsRequest
from worker.inference import http, metrics
from worker.inference.auth import EngineKeyMiddleware
from worker.inference.chat import ChatCompletionBuilder
from worker.inference.chat_answer import find_special_texts
from worker.inference.completions import CompletionBuilder
from worker.inference.embeddings import embed_with_causal_model, embed_with_encoder
from worker.inference.encoders import routes
from worker.inference.encoders.registry import EncoderRegistry
from worker.inference.encoders.served_encoder import ServedEncoder
from worker.inference.engine_thread import EngineThread
from worker.inference.generation import Generation
from worker.inference.loading import run_in_thread
from worker.inference.registry import ModelRegistry
from worker.inference.request_preparation import prepare_chat, prepare_completion
from worker.inference.response_format import (
    check_mentions_json,
    refuse_for_classifier,
)
from worker.inference.training_rows.check import check_training_rows
from worker.inference.training_rows.render import render_training_rows
from worker.light_imports import import_models

# Time for the current step to end when the server shuts down.
FINAL_STEP_TIMEOUT_SECONDS = 5.0

Body = TypeVar("Body", bound=BaseModel)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerState:
    """State shared by all requests."""

    models: ModelRegistry
    encoders: EncoderRegistry
    thread: EngineThread
    max_body_bytes: int
    api_key: str | None = field(default=None, repr=False)
    started_at: int = field(default_factory=lambda: int(time.time()))


def create_app(state: ServerState) -> FastAPI:
    app = FastAPI(
        title="Luthier engine", lifespan=_lifespan, openapi_url=None, redirect_slashes=False
    )
    app.state.engine = state
    if state.api_key is not None:
        app.add_middleware(EngineKeyMiddleware, key=state.api_key)
    app.add_middleware(ResponsePacing, find_owner=http.find_project)
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
    app.add_api_route("/v1/check_training_rows", check_rows, methods=["POST"])
    app.add_api_route("/v1/render_training_rows", render_rows, methods=["POST"])
    for kind in (ApiError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, http.handle_error)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ServerState = app.state.engine
    state.thread.start()
    warm_up = asyncio.create_task(_warm_up(state))
    warm_up.add_done_callback(lambda task: _stop_if_failed(task, state.thread))
    yield
    warm_up.cancel()
    state.thread.stop()
    # The thread must not call into a closed event loop.
    await asyncio.to_thread(state.thread.join, FINAL_STEP_TIMEOUT_SECONDS)


async def _warm_up(state: ServerState) -> None:
    """Load what first requests would wait for; the engine is ready with its first model."""
    await state.models.warm_up()
    if state.encoders.list_names():
        # Encoders are transformers' models, and importing those takes seconds.
        try:
            await run_in_thread(import_models)
        except ImportError as error:
            # Causal models are served without them.
            log.error("engine.models_not_imported", reason=str(error))


def _stop_if_failed(warm_up: asyncio.Task[None], thread: EngineThread) -> None:
    """Stop an engine that cannot load its first model, so that its supervisor logs the reason."""
    if warm_up.cancelled() or warm_up.exception() is None:
        return
    log.critical("engine.cannot_start", reason=str(warm_up.exception()))
    thread.fail()


async def health(request: Request) -> Response:
    if not _state(request).models.is_ready:
        raise ServiceUnavailable("The first model is still being loaded.")
    return JSONResponse({"status": "ok"})


async def get_metrics(request: Request) -> Response:
    content = metrics.render(_state(request).models.engine_stats())
    return Response(content, media_type=CONTENT_TYPE_LATEST)


async def list_models(request: Request) -> Response:
    state = _state(request)
    data = [
        EngineModel(id=name, object="model", created=state.started_at, owned_by="luthier")
        for name in (*state.models.list_names(), *state.encoders.list_names())
    ]
    return http.json_response(EngineModelList(object="list", data=data))


async def load_lora_adapter(request: Request) -> Response:
    body = await _read_body(request, LoadAdapterRequest)
    state = _state(request)
    if await state.encoders.is_encoder_adapter(body):
        await state.encoders.load_adapter(body)
    else:
        await state.models.load_adapter(body)
    return JSONResponse({"status": "loaded", "lora_name": body.lora_name})


async def unload_lora_adapter(request: Request) -> Response:
    body = await _read_body(request, UnloadAdapterRequest)
    state = _state(request)
    if body.lora_path is not None:
        # Also after a restart, when the name is unknown but the files are still there.
        state.models.discard_files(body.lora_path)
    if state.encoders.has_model(body.lora_name):
        state.encoders.unload_adapter(body.lora_name)
    else:
        state.models.unload_adapter(body.lora_name, state.thread)
    return JSONResponse({"status": "unloaded", "lora_name": body.lora_name})


async def check_rows(request: Request) -> Response:
    body = await _read_body(request, CheckTrainingRowsRequest)
    rendering = await _state(request).models.get_rendering(body.model)
    project = http.read_project(request)
    work = check_training_rows(body, rendering, project)
    return http.json_response(await http.cancel_on_disconnect(request, work))


async def render_rows(request: Request) -> Response:
    body = await _read_body(request, RenderTrainingRowsRequest)
    state, project = _state(request), http.read_project(request)
    work = render_training_rows(body, state.models, state.encoders, project)
    return http.json_response(await http.cancel_on_disconnect(request, work))


async def chat_completions(request: Request) -> Response:
    state = _state(request)
    body = await _read_body(request, ChatCompletionRequest)
    if state.encoders.has_model(body.model):
        return await _chat_with_classifier(request, body)
    served = await state.models.resolve(body.model)
    project = http.read_project(request)
    check_mentions_json(body)
    prompt, grammar = await http.cancel_on_disconnect(request, prepare_chat(body, served, project))
    generation = Generation(
        prompt.ids,
        body,
        served,
        state.thread,
        project=project,
        special=find_special_texts(body, prompt),
        grammar=grammar,
    )
    generation.submit()
    builder = ChatCompletionBuilder(
        body, prompt, generation, system_fingerprint=served.base.system_fingerprint
    )
    headers = http.metadata_headers(builder.metadata())
    try:
        if not body.stream:
            return http.json_response(
                await http.cancel_on_disconnect(request, builder.build()),
                headers,
                exclude_unset=True,
            )
        first = await http.cancel_on_disconnect(request, builder.first_update())
    except BaseException:
        generation.close()
        raise
    return http.EventStreamResponse(builder.stream(first), generation, headers)


async def completions(request: Request) -> Response:
    state = _state(request)
    body = await _read_body(request, CompletionRequest)
    if state.encoders.has_model(body.model):
        message = f"The model `{body.model}` does not generate text."
        raise InvalidRequest(message, param="model")
    served = await state.models.resolve(body.model)
    project = http.read_project(request)
    prompts, grammar = await http.cancel_on_disconnect(
        request, prepare_completion(body, served.base, project)
    )
    builder = CompletionBuilder(
        body, prompts, served, state.thread, project=project, grammar=grammar
    )
    headers = http.metadata_headers(builder.metadata())
    try:
        builder.submit()
        if not body.stream:
            return http.json_response(
                await http.cancel_on_disconnect(request, builder.build()), headers
            )
        first = await http.cancel_on_disconnect(request, builder.first_update())
    except BaseException:
        builder.close()
        raise
    return http.EventStreamResponse(builder.stream(first), builder, headers)


async def _chat_with_classifier(request: Request, body: ChatCompletionRequest) -> Response:
    refuse_for_classifier(body)
    served = await _resolve_encoder(request, body.model)
    response, metadata = await http.cancel_on_disconnect(
        request, routes.classify_chat(body, served)
    )
    if not body.stream:
        headers = http.metadata_headers(metadata)
        return http.json_response(response, headers, exclude_unset=True)
    events = routes.stream_chat(response, body)
    return StreamingResponse(
        events, media_type="text/event-stream", headers=http.metadata_headers(metadata)
    )


async def classify(request: Request) -> Response:
    body = await _read_body(request, ClassifyRequest)
    served = await _resolve_encoder(request, body.model)
    return http.encoded_response(
        await http.cancel_on_disconnect(request, routes.classify(body, served))
    )


async def embeddings(request: Request) -> Response:
    state = _state(request)
    body = await _read_body(request, EmbeddingsRequest)
    if state.encoders.has_model(body.model):
        work = embed_with_encoder(body, await _resolve_encoder(request, body.model))
    else:
        model = await state.models.resolve(body.model)
        project = http.read_project(request)
        work = embed_with_causal_model(body, model, state.thread, project)
    return http.encoded_response(await http.cancel_on_disconnect(request, work))


async def infer(request: Request, model: str) -> Response:
    body = await _read_body(request, InferenceRequest)
    served = await _resolve_encoder(request, model)
    return http.encoded_response(
        await http.cancel_on_disconnect(request, routes.infer(body, served))
    )


async def _resolve_encoder(request: Request, name: str) -> ServedEncoder:
    """Resolve an encoder by name.

    Raises NotFound, ServiceUnavailable, or InvalidRequest for a model that only generates text.
    """
    state = _state(request)
    if state.models.has_model(name):
        message = f"The model `{name}` is not an encoder; use chat completions."
        raise InvalidRequest(message, param="model")
    return replace(await state.encoders.resolve(name), project=http.read_project(request))


def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.engine
    return state


async def _read_body(request: Request, model: type[Body]) -> Body:
    return await http.read_body(request, model, max_bytes=_state(request).max_body_bytes)
