"""Client of the inference engines: chooses a replica, and forwards requests and adapters to it.

An engine is our own or another server with OpenAI's API (vLLM, SGLang). No state of an engine is
relied on: an adapter that it does not know is loaded on demand, so a restarted engine recovers with
the next request.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from app import logs
from app.catalog import Catalog, CatalogModel
from app.engine_options import EngineKind
from app.inference.adapter_loading import AdapterAtEngine, AdapterLoader
from app.inference.dialects import DIALECTS, is_unknown_adapter, name_models
from app.inference.engine_connection import EngineConnection
from app.inference.engine_errors import EngineTimeout, EngineUnavailable, NotSupportedByEngine
from app.inference.engine_http import READ_TIMEOUT_SECONDS, read_body
from app.inference.engine_responses import (
    EVENT_STREAM,
    EngineResponse,
    Reply,
    error_response,
    to_response,
    to_translated_response,
)
from app.inference.foreign_requests import has_no_limit, translate_request, without_limit
from app.inference.replicas import Replica, order_by_preference
from app.models.registry import ResolvedModel
from app.settings import Settings
from app.storage import ObjectStore
from app.wire.engine_metadata import Priority

__all__ = ["EngineClient", "EngineResponse", "EngineTimeout", "EngineUnavailable"]

log = logs.get_logger(__name__)


class EngineClient:
    """Client of all engines of the catalog. One per process; call `close` at the end.

    `store` has the adapters that engines of other kinds need on their disk.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        store: ObjectStore | None = None,
        *,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._connection = EngineConnection(settings, read_timeout_seconds=read_timeout_seconds)
        self._adapters = AdapterLoader(settings, store, self._connection, catalog)
        self._replicas: dict[CatalogModel, list[Replica]] = {}

    async def close(self) -> None:
        await self._connection.close()

    @asynccontextmanager
    async def forward(
        self,
        model: ResolvedModel,
        path: str,
        body: Mapping[str, Any],
        *,
        project_id: str,
        priority: Priority = Priority.LIVE,
    ) -> AsyncIterator[EngineResponse]:
        """POST a project's request to one of the model's engines, which it shares with others.

        Another replica is asked if one is away before its first byte, never after. Leaving the
        block early aborts the request there. Raises EngineUnavailable, EngineTimeout, which is one,
        and ModelDamaged.
        """
        replicas = self._order(model, project_id)
        failure = EngineUnavailable()
        for replica in replicas:
            async with AsyncExitStack() as stack:
                stack.enter_context(replica.count_request())
                try:
                    has_others = replica is not replicas[-1]
                    request = _Request(model, path, body, project_id, priority, has_others)
                    response = await self._ask(replica, request, stack)
                except NotSupportedByEngine as error:
                    response = error_response(error)
                except EngineTimeout:
                    raise
                except EngineUnavailable as error:
                    failure = error
                    continue
                yield response
                return
        raise failure

    async def unload(self, model: ResolvedModel) -> None:
        """Unload a fine-tuned model everywhere. Never raises."""
        await self._adapters.unload(self._find_replicas(model.base), model)

    async def check_health(self) -> None:
        """Raise EngineUnavailable unless the default engine is healthy, or any if no model uses it.

        An engine of a model's own that is away ends requests to this model only: others need the
        service to stay in its load balancer.
        """
        shared = [base for base in self._catalog if base.engine is None]
        replicas = [self._find_replicas(base) for base in shared or self._catalog]
        await self._check_any({replica.url for group in replicas for replica in group})

    async def _check_any(self, urls: Collection[str]) -> None:
        checks = [self._connection.check_health(url) for url in urls]
        results = await asyncio.gather(*checks, return_exceptions=True)
        problems = [result for result in results if result is not None]
        if len(problems) == len(results):
            raise problems[0] if problems else EngineUnavailable("The engine has no URL.")

    def _order(self, model: ResolvedModel, project_id: str) -> list[Replica]:
        replicas = self._find_replicas(model.base)
        if not replicas:
            raise EngineUnavailable(
                f"The engine of `{model.base.id}` is not running. `luthier up` starts it."
            )
        # One project's requests to a base model begin alike; those of an adapter share it.
        return order_by_preference(replicas, model.storage_prefix or project_id)

    def _find_replicas(self, base: CatalogModel) -> list[Replica]:
        if base not in self._replicas:
            self._replicas[base] = self._create_replicas(base)
        return self._replicas[base]

    def _create_replicas(self, base: CatalogModel) -> list[Replica]:
        options = base.engine_options
        if base.engine is None:
            url = self._settings.engine_url.rstrip("/")
            return [Replica(url, EngineKind.LUTHIER, base.id, is_trusted=True)]
        if base.managed_engine is not None:
            managed = self._settings.managed_engines.get(base.id)
            urls = () if managed is None else (managed,)
            return [Replica(url, base.managed_engine, base.id, is_trusted=True) for url in urls]
        kind = EngineKind(options.kind) if options.kind else None
        return [
            Replica(url, kind, options.model or None, is_trusted=options.send_api_key)
            for url in base.engine_urls
        ]

    async def _ask(
        self, replica: Replica, request: "_Request", stack: AsyncExitStack
    ) -> EngineResponse:
        """Send a request to one replica, up to the first byte of its response."""
        model = request.model
        kind = await self._connection.identify(replica, model.base)
        adapter = None
        if model.storage_prefix is not None:
            adapter = await self._adapters.place(replica, model, stack)
        body = self._build_body(kind, replica, request, adapter)
        reply = await self._send(replica, request, body, stack)
        is_unknown = reply.upstream.status_code == httpx.codes.NOT_FOUND
        if adapter is None and is_unknown and replica.doubt_identity():
            # It may have been started again, with another name of the base model.
            await reply.upstream.aclose()
            kind = await self._connection.identify(replica, model.base)
            body = self._build_body(kind, replica, request, adapter)
            reply = await self._send(replica, request, body, stack)
        if adapter is not None and is_unknown_adapter(kind, reply.upstream.status_code, reply.head):
            await reply.upstream.aclose()
            await self._adapters.load(replica, model, adapter)
            reply = await self._send(replica, request, body, stack)
        is_invalid = reply.upstream.status_code == httpx.codes.BAD_REQUEST
        if is_invalid and kind != EngineKind.LUTHIER and has_no_limit(request.path, request.body):
            await reply.upstream.aclose()
            reply = await self._send(replica, request, without_limit(body), stack)
        if reply.upstream.is_server_error and request.has_other_replicas:
            log.warning("engine.failed", url=replica.url, status=reply.upstream.status_code)
            raise EngineUnavailable
        if kind == EngineKind.LUTHIER:
            return to_response(reply)
        names = {replica.base_name or model.base.id: model.base.id}
        if adapter is not None:
            names[adapter.name] = model.name
        return to_translated_response(reply, model.name, names)

    def _build_body(
        self,
        kind: EngineKind,
        replica: Replica,
        request: "_Request",
        adapter: AdapterAtEngine | None,
    ) -> Mapping[str, Any]:
        if kind == EngineKind.LUTHIER:
            return request.body
        facts = None if adapter is None else adapter.facts
        body = translate_request(
            request.path, request.body, request.model.base, engine=DIALECTS[kind].name, facts=facts
        )
        if DIALECTS[kind].has_cache_salt:
            body["cache_salt"] = self._cache_salt(request.project_id)
        base_name = replica.base_name or request.model.base.id
        return name_models(
            kind, body, base=base_name, adapter=None if adapter is None else adapter.name
        )

    def _cache_salt(self, project_id: str) -> str:
        """Salt of a project's cached prefixes in engines, the same in all API processes."""
        secret = self._settings.engine_api_key
        key = secret.get_secret_value().encode() if secret is not None else b""
        return hmac.digest(key, project_id.encode(), hashlib.sha256).hex()

    async def _send(
        self,
        replica: Replica,
        request: "_Request",
        body: Mapping[str, Any],
        stack: AsyncExitStack,
    ) -> "Reply":
        upstream = await self._connection.post(
            replica,
            request.path,
            body,
            project_id=request.project_id,
            priority=request.priority,
        )
        stack.push_async_callback(upstream.aclose)
        is_stream = upstream.headers.get("content-type", "").startswith(EVENT_STREAM)
        if not upstream.is_success or not is_stream:
            return Reply(upstream, await read_body(upstream), None)
        rest = upstream.aiter_raw()
        if replica.kind == EngineKind.LUTHIER and not request.has_other_replicas:
            return Reply(upstream, b"", rest)
        return Reply(upstream, await _read_first_chunk(rest, upstream), rest)


@dataclass(frozen=True, slots=True)
class _Request:
    """A project's request, and whether another replica could still answer it."""

    model: ResolvedModel
    path: str
    body: Mapping[str, Any]
    project_id: str
    priority: Priority
    has_other_replicas: bool


async def _read_first_chunk(chunks: AsyncIterator[bytes], upstream: httpx.Response) -> bytes:
    """Raises EngineUnavailable if there is none."""
    try:
        return await anext(chunks)
    except (httpx.TransportError, StopAsyncIteration) as error:
        log.warning("engine.lost", url=str(upstream.url), reason=repr(error))
        raise EngineUnavailable from error
