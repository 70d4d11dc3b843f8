"""The operator's page: health, trainers, unfinished jobs, periodic tasks, sizes, slow routes."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from app.console import live
from app.console.api_client import ApiClient
from app.console.dependencies import ApiDep
from app.console.health import get_health
from app.console.live import LiveMessage
from app.console.page import get_prefix, render, render_fragment
from app.http.console_cookie import CONSOLE_PATH

router = APIRouter(prefix=f"{CONSOLE_PATH}/operate", include_in_schema=False)


@router.get("")
async def show_service(request: Request, api: ApiDep) -> Response:
    return render(request, "operate.html", **await _load(api))


@router.get("/live")
async def follow_service(request: Request, api: ApiDep) -> Response:
    prefix = get_prefix(request)

    async def render_parts(client: ApiClient) -> list[LiveMessage]:
        html = render_fragment(prefix, "operate_parts.html", **await _load(client))
        return [LiveMessage("parts", f'<hx-partial id="operate-parts">{html}</hx-partial>')]

    return live.respond(request, api, render_parts)


async def _load(api: ApiClient) -> dict[str, Any]:
    operations, health = await asyncio.gather(
        api.get("/v1/organization/operations"), get_health(api)
    )
    return {"service": operations, "health": health}
