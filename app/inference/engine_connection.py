"""Connection to the replicas of engines: keys, identity, health, and what their failures mean."""

from collections.abc import Mapping
from typing import Any

import httpx

from app import logs
from app.catalog import CatalogModel
from app.engine_options import EngineKind
from app.inference import engine_http
from app.inference.engine_errors import EngineTimeout, EngineUnavailable, NotSupportedByEngine
from app.inference.replicas import Replica
from app.settings import Settings
from app.wire.engine_metadata import PRIORITY_HEADER, PROJECT_HEADER, Priority

HEALTH_TIMEOUT_SECONDS = 2
IDENTITY_TIMEOUT_SECONDS = 5

log = logs.get_logger(__name__)


class EngineConnection:
    """HTTP client of all replicas. One per process; call `close` at the end."""

    def __init__(self, settings: Settings, *, read_timeout_seconds: float) -> None:
        self._api_key = settings.engine_api_key
        self.client = engine_http.create_client(read_timeout_seconds)

    async def close(self) -> None:
        await self.client.aclose()

    async def post(
        self,
        replica: Replica,
        path: str,
        body: Mapping[str, Any],
        *,
        project_id: str | None = None,
        priority: Priority = Priority.LIVE,
    ) -> httpx.Response:
        """POST to a replica, which gets no more requests for a while if it is away.

        Raises EngineUnavailable, and EngineTimeout, which is one.
        """
        headers = self._headers(replica)
        if project_id is not None and replica.is_trusted and replica.kind == EngineKind.LUTHIER:
            headers[PROJECT_HEADER] = project_id
            headers[PRIORITY_HEADER] = priority
        try:
            response = await engine_http.post(self.client, replica.url + path, body, headers)
        except EngineTimeout:
            raise
        except EngineUnavailable:
            replica.mark_away()
            raise
        replica.mark_present()
        return response

    async def post_briefly(
        self, replica: Replica, path: str, body: Mapping[str, Any], *, timeout_seconds: float
    ) -> httpx.Response:
        """POST, and read the whole response in a short time. Raises httpx.TransportError."""
        return await self.client.post(
            replica.url + path,
            json=dict(body),
            headers=self._headers(replica),
            timeout=timeout_seconds,
        )

    async def identify(self, replica: Replica, base: CatalogModel) -> EngineKind:
        """Find out a replica's kind, and the base model's name there, if they are not configured.

        Raises EngineUnavailable, and NotSupportedByEngine if it serves other models.
        """
        is_known = replica.kind is not None and replica.base_name is not None
        if replica.kind is not None and is_known and not replica.is_in_doubt:
            return replica.kind
        models = await self._list_models(replica)
        if replica.kind is None or replica.has_asked_kind:
            replica.kind, replica.has_asked_kind = find_kind(models), True
            log.info("engine.identified", engine=replica.url, kind=replica.kind.value)
        if replica.base_name is None or replica.has_asked_name:
            replica.base_name, replica.has_asked_name = find_base_name(models, base), True
        replica.is_in_doubt = False
        return replica.kind

    async def check_health(self, url: str, *, is_trusted: bool = False) -> None:
        """Raise EngineUnavailable unless the engine is healthy."""
        try:
            response = await self.client.get(f"{url}/health", timeout=HEALTH_TIMEOUT_SECONDS)
        except httpx.TransportError as error:
            raise EngineUnavailable(f"{url} does not respond: {error!r}") from error
        if response.is_error:
            raise EngineUnavailable(f"{url} is not healthy: status {response.status_code}")

    async def _list_models(self, replica: Replica) -> list[dict[str, Any]]:
        try:
            response = await self.client.get(
                f"{replica.url}/v1/models",
                headers=self._headers(replica),
                timeout=IDENTITY_TIMEOUT_SECONDS,
            )
        except httpx.TransportError as error:
            replica.mark_away()
            log.warning("engine.unreachable", url=replica.url, reason=repr(error))
            raise EngineUnavailable from error
        document = engine_http.read_object(response.content) if response.is_success else None
        models = (document or {}).get("data")
        if not isinstance(models, list):
            log.error("engine.not_identified", url=replica.url, status=response.status_code)
            raise EngineUnavailable
        return [model for model in models if isinstance(model, dict)]

    def _headers(self, replica: Replica) -> dict[str, str]:
        """The engine key, for trusted engines only."""
        if self._api_key is None or not replica.is_trusted:
            return {}
        return {"Authorization": f"Bearer {self._api_key.get_secret_value()}"}


def find_kind(models: list[dict[str, Any]]) -> EngineKind:
    owners = [str(model.get("owned_by", "")) for model in models[:1]]
    known = [kind for kind in EngineKind if kind.value in owners]
    return known[0] if known else EngineKind.OTHER


def find_base_name(models: list[dict[str, Any]], base: CatalogModel) -> str:
    """The base model's name at an engine. Raises NotSupportedByEngine if it is not clear."""
    names = [str(model.get("id")) for model in models if not model.get("parent")]
    if base.id in names:
        return base.id
    if len(names) == 1:
        return names[0]
    raise NotSupportedByEngine(
        f"The engine of `{base.id}` serves other models. Its operator names the model at the "
        "engine in models.toml, as 'model' in [model.engine_options].",
        param="model",
    )
