"""HTTP client of the inference engines: forwards requests, loads and unloads adapters.

An engine is our own or any server with the same API (vLLM, SGLang). No state of an engine is relied
on: an adapter that it does not know is loaded on demand, so a restarted engine recovers with the
next request.
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
from app.errors import ModelDamaged, ServiceUnavailable
from app.models.registry import ResolvedModel
from app.settings import Settings
from app.wire.engine_metadata import METADATA_HEADER, PROJECT_HEADER, EngineMetadata, parse_header

log = logs.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
# Between two bytes of an engine. Long, because a queue of long prompts is slow.
READ_TIMEOUT_SECONDS = 600
# Below the 5 s after which servers close idle connections: reusing one as it closes fails.
KEEPALIVE_EXPIRY_SECONDS = 2
HEALTH_TIMEOUT_SECONDS = 2
UNLOAD_TIMEOUT_SECONDS = 5
# Response headers of an engine that clients get; all others are dropped.
FORWARDED_HEADERS = ("content-type", "retry-after")
EVENT_STREAM = "text/event-stream"


class EngineUnavailable(ServiceUnavailable):
    """The model's engine is unavailable. Please retry in a moment."""


class EngineTimeout(EngineUnavailable):
    """The model took too long to respond and was stopped. Set 'max_tokens', or use streaming."""

    status = 504
    # A retry would take as long again.
    headers: ClassVar[dict[str, str]] = {"x-should-retry": "false"}


@dataclass(frozen=True, slots=True)
class EngineResponse:
    """An engine's response: all its bytes in one chunk, or a stream of server-sent events.

    `metadata` is for monitoring and not sent to the client.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    metadata: EngineMetadata | None


class EngineClient:
    """Client of all engines of the catalog. One per process; call `close` at the end."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self._default_url = settings.engine_url
        self._api_key = settings.engine_api_key
        self._catalog = catalog
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(read_timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY_SECONDS),
            # Engines are on the internal network: an outbound proxy must not see their requests.
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    def engine_url(self, base: CatalogModel) -> str:
        """Base URL of a base model's engine, without a trailing slash."""
        return (base.engine or self._default_url).rstrip("/")

    @asynccontextmanager
    async def forward(
        self, model: ResolvedModel, path: str, body: Mapping[str, Any], *, project_id: str
    ) -> AsyncIterator[EngineResponse]:
        """POST a project's request to the model's engine, which it shares with others.

        Leaving the block early aborts the request there.

        Raises EngineUnavailable, and EngineTimeout, which is one.
        """
        url = self.engine_url(model.base)
        upstream = await self._post_request(url + path, body, project_id)
        if upstream.status_code == httpx.codes.NOT_FOUND and model.storage_prefix is not None:
            await upstream.aclose()
            await self.ensure_loaded(model)
            upstream = await self._post_request(url + path, body, project_id)
        try:
            yield await _to_response(upstream)
        finally:
            await upstream.aclose()

    async def ensure_loaded(self, model: ResolvedModel) -> None:
        """Have the engine load a fine-tuned model's adapter.

        Raises EngineUnavailable, and ModelDamaged if its stored files are damaged.
        """
        body = {
            "lora_name": model.name,
            "lora_path": model.storage_prefix,
            "base_model_name": model.base.id,
        }
        url = self.engine_url(model.base) + "/v1/load_lora_adapter"
        response = await self._post(url, body)
        try:
            text = await _read_body(response)
        finally:
            await response.aclose()
        # vLLM answers an error if the adapter is loaded already, which is fine too.
        if response.is_error and b"already" not in text:
            log.error("engine.adapter_refused", model=model.name, status=response.status_code)
            if _error_code(text) == ModelDamaged.code:
                raise ModelDamaged
            raise EngineUnavailable(
                f"The engine could not load the model `{model.name}`. Please retry in a moment."
            )

    async def unload(self, model: ResolvedModel) -> None:
        """Ask the engine to unload a fine-tuned model. Never raises: an engine that cannot be
        reached gets no more requests for the model, and evicts it when it needs the memory."""
        url = self.engine_url(model.base) + "/v1/unload_lora_adapter"
        body = {"lora_name": model.name}
        if self._is_own_engine(url) and model.storage_prefix is not None:
            body["lora_path"] = model.storage_prefix
        try:
            response = await self._client.post(
                url,
                json=body,
                headers=self._auth_headers(url),
                timeout=UNLOAD_TIMEOUT_SECONDS,
            )
        except httpx.TransportError as error:
            log.warning("engine.not_unloaded", model=model.name, reason=repr(error))
            return
        # 404, and vLLM's 400, mean that it has never served the model.
        if response.is_server_error:
            log.warning("engine.not_unloaded", model=model.name, status=response.status_code)

    async def check_health(self) -> None:
        """Raise EngineUnavailable unless every engine of the catalog is healthy."""
        urls = {self.engine_url(base) for base in self._catalog}
        await asyncio.gather(*(self._check_engine(url) for url in urls))

    async def _check_engine(self, url: str) -> None:
        try:
            response = await self._client.get(f"{url}/health", timeout=HEALTH_TIMEOUT_SECONDS)
        except httpx.TransportError as error:
            raise EngineUnavailable(f"{url} does not respond: {error!r}") from error
        if response.is_error:
            raise EngineUnavailable(f"{url} is not healthy: status {response.status_code}")

    def _is_own_engine(self, url: str) -> bool:
        """True for the default engine; the others may be third parties'."""
        return url.startswith(self._default_url.rstrip("/") + "/")

    def _auth_headers(self, url: str) -> dict[str, str]:
        """The engine key, for the default engine only."""
        if self._api_key is None or not self._is_own_engine(url):
            return {}
        return {"Authorization": f"Bearer {self._api_key.get_secret_value()}"}

    async def _post_request(
        self, url: str, body: Mapping[str, Any], project_id: str
    ) -> httpx.Response:
        headers = {PROJECT_HEADER: project_id} if self._is_own_engine(url) else {}
        try:
            return await self._post(url, body, headers)
        except EngineUnavailable as error:
            if isinstance(error.__cause__, httpx.ReadTimeout):
                raise EngineTimeout from error
            raise

    async def _post(
        self, url: str, body: Mapping[str, Any], extra_headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        headers = {
            "Content-Type": "application/json",
            **(extra_headers or {}),
            **self._auth_headers(url),
        }
        # Not httpx's `json=`: it takes ten times as long for a long text, on the event loop.
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
    metadata = parse_header(upstream.headers.get(METADATA_HEADER))
    if upstream.is_success and headers.get("content-type", "").startswith(EVENT_STREAM):
        return EngineResponse(upstream.status_code, headers, _stream_events(upstream), metadata)
    body = await _read_body(upstream)
    # The API has resolved the model, so an engine that does not know it is our fault.
    is_unknown = upstream.status_code == httpx.codes.NOT_FOUND
    if is_unknown or (upstream.is_error and not _is_openai_error(body)):
        log.error("engine.failed", url=str(upstream.url), status=upstream.status_code)
        raise EngineUnavailable
    return EngineResponse(upstream.status_code, headers, _single_chunk(body), metadata)


async def _stream_events(upstream: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the bytes as they arrive; if the engine dies meanwhile, an error as the last event."""
    try:
        async for chunk in upstream.aiter_raw():
            yield chunk
    except httpx.TransportError as error:
        log.warning("engine.lost", url=str(upstream.url), reason=repr(error))
        event = json.dumps(EngineUnavailable().body())
        yield f"\n\ndata: {event}\n\n".encode()


async def _single_chunk(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _read_body(upstream: httpx.Response) -> bytes:
    try:
        return await upstream.aread()
    except httpx.TransportError as error:
        log.warning("engine.lost", url=str(upstream.url), reason=repr(error))
        raise EngineUnavailable from error


def _is_openai_error(body: bytes) -> bool:
    return _read_error(body) is not None


def _error_code(body: bytes) -> object:
    return (_read_error(body) or {}).get("code")


def _read_error(body: bytes) -> dict[str, Any] | None:
    """Read OpenAI's error object, if the body is one."""
    with suppress(ValueError):
        document = json.loads(body)
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            error: dict[str, Any] = document["error"]
            return error
    return None
