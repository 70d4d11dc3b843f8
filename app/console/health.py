"""The service's health, as /readyz reports it."""

from typing import Any

import orjson

from app.console.api_client import ApiClient


async def get_health(api: ApiClient) -> dict[str, Any]:
    """The readiness report, which has a body also when it is a 503."""
    async with api.stream("GET", "/readyz") as response:
        report: dict[str, Any] = orjson.loads(await response.read())
    return report
