"""The page of a job: its state, curves, numbers, lineage, checkpoints and events, live."""

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from app.console import curves, live
from app.console.api_client import ApiClient
from app.console.dependencies import ApiDep
from app.console.job_page import (
    ENDED,
    build_job_path,
    load_attempts,
    load_job,
    load_lineage,
    load_live_parts,
    load_tail,
)
from app.console.live import LiveMessage
from app.console.page import get_prefix, render, render_fragment
from app.http.console_cookie import CONSOLE_PATH

# Parts of the page by the ids of their elements.
LIVE_PARTS = ("job-head", "job-numbers", "job-checkpoints", "job-attempts", "job-events")
# Changes once, at the end: what the job has made.
LINEAGE_PART = "job-lineage"

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/jobs/{job_id}")
async def show_job(
    job_id: str, request: Request, api: ApiDep, events_after: str | None = None
) -> Response:
    parts = await load_live_parts(api, job_id, events_after)
    are_curves_apart = parts["job"]["progress"]["step"] > curves.MAX_EMBEDDED_STEPS
    lineage, charts = await asyncio.gather(
        load_lineage(api, parts["job"]),
        _load_nothing() if are_curves_apart else _load_charts(api, job_id),
    )
    return render(
        request,
        "job.html",
        charts=charts,
        are_curves_apart=are_curves_apart,
        is_live=_changes(parts["job"]) and events_after is None,
        events_after=events_after,
        **parts,
        **lineage,
    )


@router.get("/jobs/{job_id}/curves")
async def show_curves(job_id: str, api: ApiDep) -> Response:
    """All points of the curves, for a page that has none or has missed some."""
    data = orjson.dumps(await _load_charts(api, job_id))
    return Response(data, media_type="application/json")


@router.get("/jobs/{job_id}/live")
async def follow_job(job_id: str, request: Request, api: ApiDep) -> Response:
    prefix = get_prefix(request)
    await load_job(api, job_id)

    async def render_parts(client: ApiClient) -> list[LiveMessage]:
        parts = await load_live_parts(client, job_id)
        after_step, metrics = await load_tail(client, parts["job"])
        update = curves.build_job_charts(metrics, parts["attempts"], after_step)
        context = {**parts, "events_after": None}
        shown: tuple[str, ...] = LIVE_PARTS
        if parts["job"]["status"] in ENDED:
            context |= await load_lineage(client, parts["job"])
            shown = (*LIVE_PARTS, LINEAGE_PART)
        return [
            LiveMessage("curves", orjson.dumps(update).decode(), event="curves"),
            *(_render_part(prefix, part, context) for part in shown),
        ]

    return live.respond(request, api, render_parts)


def _render_part(prefix: str, part: str, context: dict[str, Any]) -> LiveMessage:
    html = render_fragment(prefix, f"{part.replace('-', '_')}.html", **context)
    return LiveMessage(part, f'<hx-partial id="{part}" hx-swap="innerMorph">{html}</hx-partial>')


async def _load_nothing() -> curves.Data:
    return curves.build_empty()


async def _load_charts(api: ApiClient, job_id: str) -> curves.Data:
    metrics, attempts = await asyncio.gather(
        api.get(build_job_path(job_id, "metrics")), load_attempts(api, job_id)
    )
    return curves.build_job_charts(metrics, attempts)


def _changes(job: dict[str, Any]) -> bool:
    """True if the page may change by itself: an ended job's evaluations may still run."""
    statuses = [each["status"] for each in job["evaluations"] or ()]
    return job["status"] not in ENDED or (
        job["status"] == "succeeded" and any(each in ("queued", "in_progress") for each in statuses)
    )
