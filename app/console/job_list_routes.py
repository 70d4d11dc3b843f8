"""The list of jobs: filters in the URL, progress, and why each job waits, live."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.console import live
from app.console.api_client import ApiCallError, ApiClient
from app.console.dependencies import ApiDep
from app.console.job_filters import STATUSES, JobFilters
from app.console.live import LiveMessage
from app.console.page import get_prefix, render, render_fragment
from app.http.console_cookie import CONSOLE_PATH

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/jobs")
async def show_jobs(request: Request, api: ApiDep) -> Response:
    filters = JobFilters.read(request)
    problem = None
    try:
        context = await _load(api, filters)
    except ValueError as error:
        problem = str(error)
    except ApiCallError as error:
        if error.status != 400:
            raise
        problem = str(error)
    if problem is not None:
        context = {"jobs": [], "filters": filters, "next_query": None}
    return render(
        request,
        "jobs.html",
        status=200 if problem is None else 400,
        problem_text=problem,
        statuses=STATUSES,
        **context,
    )


@router.get("/jobs/live")
async def follow_jobs(request: Request, api: ApiDep) -> Response:
    prefix, filters = get_prefix(request), JobFilters.read(request)

    async def render_list(client: ApiClient) -> list[LiveMessage]:
        html = render_fragment(prefix, "jobs_list.html", **await _load(client, filters))
        partial = f'<hx-partial id="jobs-list" hx-swap="innerMorph">{html}</hx-partial>'
        return [LiveMessage("jobs", partial)]

    return live.respond(request, api, render_list)


async def _load(api: ApiClient, filters: JobFilters) -> dict[str, Any]:
    """Load one page of the list. Raises ValueError for a day that is none."""
    page = await api.get("/v1/fine_tuning/jobs", filters.to_api())
    jobs = page["data"]
    next_query = filters.to_query(after=jobs[-1]["id"]) if page["has_more"] else None
    return {"jobs": jobs, "filters": filters, "next_query": next_query}
