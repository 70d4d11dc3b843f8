"""The home page: running and waiting jobs, the machine, and the first steps."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from app.console import live
from app.console.api_client import ApiClient
from app.console.dependencies import ApiDep
from app.console.live import LiveMessage
from app.console.page import get_prefix, render, render_fragment
from app.http.console_cookie import CONSOLE_PATH

ACTIVE = ("validating_files", "queued", "running", "paused")
MAX_JOBS = 50

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/")
async def show_home(request: Request, api: ApiDep) -> Response:
    return render(request, "home.html", **await _load(api))


@router.get("/live")
async def follow_home(request: Request, api: ApiDep) -> Response:
    prefix = get_prefix(request)

    async def render_jobs(client: ApiClient) -> list[LiveMessage]:
        html = render_fragment(prefix, "home_jobs.html", **await _load(client))
        return [LiveMessage("jobs", f'<hx-partial id="home-jobs">{html}</hx-partial>')]

    return live.respond(request, api, render_jobs)


async def _load(api: ApiClient) -> dict[str, Any]:
    if api.identity.project is None:
        return {"jobs": [], "files": [], "is_admin_only": True}
    jobs, files = await asyncio.gather(
        api.get("/v1/fine_tuning/jobs", {"limit": MAX_JOBS}),
        api.get("/v1/files", {"limit": 1}),
    )
    return {"jobs": jobs["data"], "files": files["data"], "is_admin_only": False}
