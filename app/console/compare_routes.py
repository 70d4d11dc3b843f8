"""Comparison of up to six jobs, which the page's URL names: so its address is a link to share."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Request, Response

from app.console import comparison, curves
from app.console.api_client import ApiCallError, ApiClient
from app.console.dependencies import ApiDep
from app.console.job_page import JOBS, build_job_path
from app.console.page import render
from app.http.console_cookie import CONSOLE_PATH

MAX_COMPARED = 6
MAX_CHOICES = 50
# Of each curve.
MAX_POINTS = 600
# Of a long job, the steps in which the last value of each metric is looked for.
TAIL_STEPS = 1000

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/compare")
async def show_comparison(request: Request, api: ApiDep, search: str = "") -> Response:
    ids = _read_ids(request)
    chosen, problems = ids[:MAX_COMPARED], []
    if len(ids) > MAX_COMPARED:
        problems.append(f"Only the first {MAX_COMPARED} of {len(ids)} jobs are compared.")
    query = {"limit": MAX_CHOICES, "search": search[:128] or None, "include[]": "progress"}
    loaded, choices = await asyncio.gather(_load_all(api, chosen), api.get(JOBS, query))
    for id, result in zip(chosen, loaded, strict=True):
        if isinstance(result, ApiCallError):
            problems.append(f"{id}: {result}")
    jobs = [result for result in loaded if not isinstance(result, ApiCallError)]
    labels = comparison.label_jobs(jobs)
    metrics = await asyncio.gather(*(_load_metrics(api, job) for job in jobs))
    are_curves_apart = any(_is_long(job) for job in jobs)
    charts = (
        curves.build_empty()
        if are_curves_apart
        else curves.build_comparison_charts(labels, metrics)
    )
    return render(
        request,
        "compare.html",
        jobs=jobs,
        labels=labels,
        charts=charts,
        curves_query=urlencode([("job", job["id"]) for job in jobs]) if are_curves_apart else "",
        inputs=comparison.list_inputs(jobs) if jobs else [],
        metrics=comparison.list_metrics(jobs, metrics) if jobs else [],
        choices=_order_choices(jobs, choices["data"]),
        max_compared=MAX_COMPARED,
        search=search,
        problems=problems,
    )


@router.get("/compare/curves")
async def show_compared_curves(request: Request, api: ApiDep) -> Response:
    """The curves of the page, where they take long to read."""
    loaded = await _load_all(api, _read_ids(request)[:MAX_COMPARED])
    jobs = [result for result in loaded if not isinstance(result, ApiCallError)]
    paths = [build_job_path(job["id"], "metrics") for job in jobs]
    metrics = await asyncio.gather(*(api.get(path, {"max_points": MAX_POINTS}) for path in paths))
    data = curves.build_comparison_charts(comparison.label_jobs(jobs), metrics)
    return Response(orjson.dumps(data), media_type="application/json")


def _read_ids(request: Request) -> list[str]:
    """The ids of the URL without repeats, in its order, which chooses the colours."""
    return list(dict.fromkeys(id for id in request.query_params.getlist("job") if id))


async def _load_all(api: ApiClient, ids: Sequence[str]) -> list[Any]:
    """Load each job; an ApiCallError in place of one that cannot be read."""
    return await asyncio.gather(*(_load(api, id) for id in ids))


async def _load(api: ApiClient, job_id: str) -> Any:
    try:
        return await api.get(build_job_path(job_id), {"include[]": "progress"})
    except ApiCallError as error:
        if error.status not in (400, 404):
            raise
        return error


def _is_long(job: Mapping[str, Any]) -> bool:
    return int(job["progress"]["step"]) > curves.MAX_EMBEDDED_STEPS


async def _load_metrics(api: ApiClient, job: Mapping[str, Any]) -> Any:
    """Load the metrics of a job, or of a long one those of its last steps."""
    after_step = max(0, job["progress"]["step"] - TAIL_STEPS) if _is_long(job) else 0
    query = {"max_points": MAX_POINTS, "after_step": after_step}
    return await api.get(build_job_path(job["id"], "metrics"), query)


def _order_choices(jobs: Sequence[Any], newest: Sequence[Any]) -> list[Any]:
    """The chosen jobs first, then the others of the list."""
    chosen = {job["id"] for job in jobs}
    return [*jobs, *(job for job in newest if job["id"] not in chosen)]
