"""The home page: running and waiting jobs, the service's health, and the first steps."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from app.console import live
from app.console.api_client import ApiClient, Query
from app.console.dependencies import ApiDep
from app.console.health import get_health
from app.console.live import LiveMessage
from app.console.page import get_prefix, render, render_fragment
from app.console.sparklines import build_sparkline
from app.http.console_cookie import CONSOLE_PATH

JOBS = "/v1/fine_tuning/jobs"
RUNNING = ["running"]
WAITING = ["validating_files", "queued", "paused"]
ENDED = ["succeeded", "failed", "cancelled"]
MAX_RUNNING, MAX_WAITING, MAX_ENDED = 12, 20, 8

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/")
async def show_home(request: Request, api: ApiDep) -> Response:
    if api.identity.project is None:
        return render(request, "home_admin.html")
    return render(request, "home.html", **await _load(api))


@router.get("/live")
async def follow_home(request: Request, api: ApiDep) -> Response:
    prefix = get_prefix(request)

    async def render_parts(client: ApiClient) -> list[LiveMessage]:
        html = render_fragment(prefix, "home_parts.html", **await _load(client))
        return [LiveMessage("parts", f'<hx-partial id="home-parts">{html}</hx-partial>')]

    return live.respond(request, api, render_parts)


async def _load(api: ApiClient) -> dict[str, Any]:
    running, waiting, ended, files, health, status = await asyncio.gather(
        _list_jobs(api, RUNNING, MAX_RUNNING, "loss_curve"),
        _list_jobs(api, WAITING, MAX_WAITING),
        _list_jobs(api, ENDED, MAX_ENDED),
        api.get("/v1/files", {"limit": 1}),
        get_health(api),
        api.get("/v1/status"),
    )
    return {
        "running": [
            job | {"curve": build_sparkline(job["loss_curve"]["values"])} for job in running["data"]
        ],
        "waiting": waiting["data"],
        "ended": ended["data"],
        "has_more_waiting": waiting["has_more"],
        "has_files": bool(files["data"]),
        "health": health,
        "capacity": status,
    }


async def _list_jobs(api: ApiClient, statuses: list[str], limit: int, *include: str) -> Any:
    query: Query = {"status": statuses, "limit": limit, "include": ["progress", *include]}
    return await api.get(JOBS, query)
