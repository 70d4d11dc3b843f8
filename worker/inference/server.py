"""The engine over HTTP, in OpenAI's shape. The only file of the worker that knows FastAPI."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app import logs
from app.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound, TooLarge, Unavailable
from app.schemas.completions import CompletionRequest
from app.schemas.embeddings import EmbeddingsRequest
from app.schemas.encoders import ClassifyRequest, InferenceRequest
from app.schemas.engine import (
    ChatCompletionRequest,
    LoadAdapterRequest,
    ServedModel,
    ServedModels,
    UnloadAdapterRequest,
)
from app.schemas.observation import HEADER, Observation
from app.schemas.sampling import refusal
from worker.inference import metrics
from worker.inference.chat import Chat
from worker.inference.completions import Completions, read_prompts
from worker.inference.embeddings import of_causal, of_encoder
from worker.inference.encoders import routes
from worker.inference.encoders.models import EncoderModels, ServedEncoder
from worker.inference.encoders.replies import Reply
from worker.inference.generation import Generation, render
from worker.inference.lock import Lock
from worker.inference.models import Models
from worker.inference.thread import EngineThread

# A larger body is read beside the event loop: thousands of messages take as long as a token.
AT_ONCE_BYTES = 64 * 2**10
# Longest wait for the step at hand when the server ends.
LAST_STEP_SECONDS = 5.0

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")

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
        app.add_exception_handler(kind, _error)
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
    return _json(ServedModels(object="list", data=data))


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
    headers = _observed(chat.observation())
    try:
        if not asked.stream:
            return _json(await _unless_gone(request, chat.whole()), headers)
        first = await _unless_gone(request, chat.first())
    except BaseException:
        generation.close()
        raise
    return TokenStream(chat.stream(first), generation, headers)


async def completions(request: Request) -> Response:
    parts = _parts(request)
    asked = await _read(request, CompletionRequest)
    if parts.encoders.knows(asked.model):
        message = f"The model `{asked.model}` does not write texts."
        raise InvalidRequest(message, param="model")
    served = await parts.models.resolve(asked.model)
    prompts = await read_prompts(asked, served.base)
    texts = Completions(asked, prompts, served, parts.thread)
    headers = _observed(texts.observation())
    try:
        texts.submit()
        if not asked.stream:
            return _json(await _unless_gone(request, texts.whole()), headers)
        first = await _unless_gone(request, texts.first())
    except BaseException:
        texts.close()
        raise
    return TokenStream(texts.stream(first), texts, headers)


async def _classifier_chat(request: Request, asked: ChatCompletionRequest) -> Response:
    served = await _parts(request).encoders.resolve(asked.model)
    answer, seen = await _unless_gone(request, routes.chat(asked, served))
    if not asked.stream:
        return _json(answer, _observed(seen))
    events = routes.streamed(answer, asked)
    return StreamingResponse(events, media_type="text/event-stream", headers=_observed(seen))


async def classify(request: Request) -> Response:
    asked = await _read(request, ClassifyRequest)
    served = await _with_task(request, asked.model)
    return _sent(await _unless_gone(request, routes.classify(asked, served)))


async def embeddings(request: Request) -> Response:
    parts = _parts(request)
    asked = await _read(request, EmbeddingsRequest)
    if parts.encoders.knows(asked.model):
        encoder = await parts.encoders.resolve(asked.model)
        return _sent(await _unless_gone(request, of_encoder(asked, encoder)))
    causal = await parts.models.resolve(asked.model)
    return _sent(await _unless_gone(request, of_causal(asked, causal, parts.thread)))


async def infer(request: Request, model: str) -> Response:
    asked = await _read(request, InferenceRequest)
    served = await _with_task(request, model)
    return _sent(await _unless_gone(request, routes.infer(asked, served)))


async def _with_task(request: Request, name: str) -> ServedEncoder:
    """Raises what resolving raises, and InvalidRequest for a model that only writes."""
    parts = _parts(request)
    if parts.models.knows(name):
        message = f"The model `{name}` is no encoder; ask it in a chat."
        raise InvalidRequest(message, param="model")
    return await parts.encoders.resolve(name)


class TokenStream(StreamingResponse):
    """Events as they come. A client that leaves, or the end, stops the generation."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        generation: Generation | Completions,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", **headers})
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.close()


async def _unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`; if the client leaves first, ClientDisconnect and `work` cancelled."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, kind: type[Body]) -> Body:
    """The request's body. Raises InvalidRequest, or TooLarge before all of it is read."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _parts(request).max_body_bytes:
            raise TooLarge
    try:
        if len(data) <= AT_ONCE_BYTES:
            return kind.model_validate_json(data)
        return await asyncio.to_thread(kind.model_validate_json, data)
    except ValidationError as error:
        raise refusal(error) from error


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


def _json(body: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), media_type="application/json", headers=headers)


def _sent(reply: Reply) -> Response:
    headers = _observed(reply.observation)
    return Response(reply.body, media_type="application/json", headers=headers)


def _observed(seen: Observation) -> dict[str, str]:
    return {HEADER: seen.header()}


async def _error(request: Request, error: Exception) -> Response:
    """Every error in OpenAI's envelope."""
    shown = _shown(request, error)
    return JSONResponse(shown.body(), status_code=shown.status, headers=dict(shown.headers))


def _shown(request: Request, error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    where = f"({request.method} {request.url.path})"
    if isinstance(error, HTTPException) and error.status_code == NotFound.status:
        return NotFound(f"Invalid URL {where}")
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(f"Not allowed {where}")
    if isinstance(error, HTTPException | ClientDisconnect):
        return InvalidRequest(f"The request was broken off {where}")
    return ApiError()
