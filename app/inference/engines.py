"""Client of the inference engines: which one serves a model, and passing requests on to it.

An engine is our own or anything that speaks the same wire (vLLM, SGLang). It keeps nothing that we
rely on: an adapter that it does not know is loaded when it is asked for, so that a restarted
engine heals with the next request.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import orjson

from app import logs
from app.catalog import Catalog, CatalogModel
from app.errors import ServiceUnavailable
from app.models.registry import ResolvedModel
from app.settings import Settings
from app.wire import engine_metadata
from app.wire.engine_metadata import EngineMetadata

log = logs.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
# An engine that is silent for so long is taken for dead; a queue of long prompts is slow.
READ_TIMEOUT_SECONDS = 600
# Below the 5 s after which servers close idle connections: reusing one as it closes fails.
KEEPALIVE_EXPIRY_SECONDS = 2
HEALTH_TIMEOUT_SECONDS = 2
UNLOAD_TIMEOUT_SECONDS = 5
# Of an engine's headers; the others are its own affair.
FORWARDED_HEADERS = ("content-type", "retry-after")
EVENT_STREAM = "text/event-stream"


class EngineUnavailable(ServiceUnavailable):
    """The model's engine does not answer just now. Try again in a moment."""


class EngineTimeout(EngineUnavailable):
    """The model took too long to answer and was stopped. Set 'max_tokens', or ask for a stream."""

    status = 504
    # It would take as long again.
    headers: ClassVar[dict[str, str]] = {"x-should-retry": "false"}


@dataclass(frozen=True, slots=True)
class EngineResponse:
    """An engine's answer: all its bytes in one piece, or a stream of events as they come.

    `observation` is what the engine tells us of it, and not the client.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    metadata: EngineMetadata | None


class EngineClient:
    """The engines of the catalogue. One per process; `close` it at the end."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self._default_url = settings.engine_url
        self._api_key = settings.engine_key
        self._catalog = catalog
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(read_timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY_SECONDS),
            # Engines are neighbours; a proxy for the way out must not get their requests.
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    def engine_url(self, base: CatalogModel) -> str:
        """Where a base model and its adapters are served, without a slash at the end."""
        return (base.engine or self._default_url).rstrip("/")

    @asynccontextmanager
    async def forward(
        self, served: ResolvedModel, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[EngineResponse]:
        """POST a request to the model's engine. Leaving the block early aborts the request there.

        Raises EngineUnavailable, of which EngineTimedOut is one.
        """
        url = self.engine_url(served.base)
        upstream = await self._post_request(url + path, body)
        if upstream.status_code == httpx.codes.NOT_FOUND and served.storage_prefix is not None:
            await upstream.aclose()
            await self.ensure_loaded(served)
            upstream = await self._post_request(url + path, body)
        try:
            yield await _to_response(upstream)
        finally:
            await upstream.aclose()

    async def ensure_loaded(self, served: ResolvedModel) -> None:
        """Have the engine load a tuned model's adapter. Raises EngineUnavailable."""
        body = {
            "lora_name": served.name,
            "lora_path": served.storage_prefix,
            "base_model_name": served.base.id,
        }
        answer = await self._post(self.engine_url(served.base) + "/v1/load_lora_adapter", body)
        try:
            text = await _read_body(answer)
        finally:
            await answer.aclose()
        # vLLM refuses to load what is loaded already, which is as good as loading it.
        if answer.is_error and b"already" not in text:
            log.error("engine.adapter_refused", model=served.name, status=answer.status_code)
            raise EngineUnavailable(
                f"The engine could not load the model `{served.name}`. Try again in a moment."
            )

    async def unload(self, served: ResolvedModel) -> None:
        """Have the engine let go of a tuned model. Never raises: one that does not hear of it is
        not asked for the model any more, and forgets it when it needs the room."""
        url = self.engine_url(served.base) + "/v1/unload_lora_adapter"
        try:
            answer = await self._client.post(
                url,
                json={"lora_name": served.name},
                headers=self._auth_headers(url),
                timeout=UNLOAD_TIMEOUT_SECONDS,
            )
        except httpx.TransportError as error:
            log.warning("engine.not_unloaded", model=served.name, reason=repr(error))
            return
        # 404 and vLLM's 400: it has never served the model.
        if answer.is_server_error:
            log.warning("engine.not_unloaded", model=served.name, status=answer.status_code)

    async def check_health(self) -> None:
        """Raises EngineUnavailable unless every engine of the catalogue says that it is ready."""
        urls = {self.engine_url(base) for base in self._catalog}
        await asyncio.gather(*(self._check_engine(url) for url in urls))

    async def _check_engine(self, url: str) -> None:
        try:
            answer = await self._client.get(f"{url}/health", timeout=HEALTH_TIMEOUT_SECONDS)
        except httpx.TransportError as error:
            raise EngineUnavailable(f"{url} does not answer: {error!r}") from error
        if answer.is_error:
            raise EngineUnavailable(f"{url} is not ready: {answer.status_code}")

    def _auth_headers(self, url: str) -> dict[str, str]:
        """The key, for our own engine only: others may be anybody's."""
        own = self._api_key is not None and url.startswith(self._default_url.rstrip("/") + "/")
        return {"Authorization": f"Bearer {self._api_key}"} if own else {}

    async def _post_request(self, url: str, body: Mapping[str, Any]) -> httpx.Response:
        try:
            return await self._post(url, body)
        except EngineUnavailable as error:
            if isinstance(error.__cause__, httpx.ReadTimeout):
                raise EngineTimeout from error
            raise

    async def _post(self, url: str, body: Mapping[str, Any]) -> httpx.Response:
        headers = {"Content-Type": "application/json", **self._auth_headers(url)}
        # Not httpx's own `json`: for a long text that is ten times as slow, and all others wait.
        content = orjson.dumps(body)
        request = self._client.build_request("POST", url, content=content, headers=headers)
        try:
            return await self._client.send(request, stream=True)
        except httpx.TransportError as error:
            log.warning("engine.unreachable", url=url, reason=repr(error))
            raise EngineUnavailable from error


async def _to_response(upstream: httpx.Response) -> EngineResponse:
    headers = {
        name: upstream.headers[name] for name in FORWARDED_HEADERS if name in upstream.headers
    }
    observed = engine_metadata.parse_header(upstream.headers.get(engine_metadata.METADATA_HEADER))
    if upstream.is_success and headers.get("content-type", "").startswith(EVENT_STREAM):
        return EngineResponse(upstream.status_code, headers, _stream_events(upstream), observed)
    whole = await _read_body(upstream)
    # We know the model, so an engine that does not is a fault of ours and not of the client's.
    unknown = upstream.status_code == httpx.codes.NOT_FOUND
    if unknown or (upstream.is_error and not _is_openai_error(whole)):
        log.error("engine.failed", url=str(upstream.url), status=upstream.status_code)
        raise EngineUnavailable
    return EngineResponse(upstream.status_code, headers, _single_chunk(whole), observed)


async def _stream_events(upstream: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes as they come; if the engine dies among them, an error as the last event."""
    try:
        async for chunk in upstream.aiter_raw():
            yield chunk
    except httpx.TransportError as error:
        log.warning("engine.lost", url=str(upstream.url), reason=repr(error))
        event = json.dumps(EngineUnavailable().body())
        yield f"\n\ndata: {event}\n\n".encode()


async def _single_chunk(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


async def _read_body(upstream: httpx.Response) -> bytes:
    try:
        return await upstream.aread()
    except httpx.TransportError as error:
        log.warning("engine.lost", url=str(upstream.url), reason=repr(error))
        raise EngineUnavailable from error


def _is_openai_error(whole: bytes) -> bool:
    with suppress(ValueError):
        document = json.loads(whole)
        return isinstance(document, dict) and isinstance(document.get("error"), dict)
    return False
