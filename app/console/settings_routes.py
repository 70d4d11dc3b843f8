"""Settings of an organization, for admins: projects, keys, service accounts, usage."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from app.console import formatting
from app.console.api_client import ApiCallError
from app.console.bar_charts import build_bars
from app.console.dependencies import ApiDep
from app.console.page import get_prefix, render
from app.http.console_cookie import CONSOLE_PATH

PROJECTS = "/v1/organization/projects"
ADMIN_KEYS = "/v1/organization/admin_api_keys"
# Pages of the console show this many; longer lists say that there are more.
PAGE = {"limit": 100}
EMPTY_FORM = {"name": "", "problem": ""}
DAY_SECONDS = 86_400
USAGE_DAYS = 30

router = APIRouter(prefix=f"{CONSOLE_PATH}/settings", include_in_schema=False)

Name = Annotated[str, Form(max_length=1000)]


@router.get("")
async def choose_page(request: Request, api: ApiDep) -> Response:
    page = "projects" if api.identity.admin else "webhooks"
    return _go(request, f"/{page}")


@router.get("/projects")
async def list_projects(request: Request, api: ApiDep) -> Response:
    return await _render_projects(request, api)


@router.post("/projects")
async def create_project(request: Request, api: ApiDep, name: Name = "") -> Response:
    try:
        project = await api.post(PROJECTS, {"name": name})
    except ApiCallError as error:
        return await _render_projects(request, api, problem=str(error), name=name)
    return _go(request, f"/projects/{project['id']}")


@router.get("/projects/{project_id}")
async def show_project(project_id: str, request: Request, api: ApiDep) -> Response:
    return await _render_project(request, api, project_id)


@router.post("/projects/{project_id}/archive")
async def archive_project(project_id: str, request: Request, api: ApiDep) -> Response:
    await api.post(f"{PROJECTS}/{project_id}/archive")
    return _go(request, "/projects")


@router.post("/projects/{project_id}/service_accounts")
async def create_service_account(
    project_id: str, request: Request, api: ApiDep, name: Name = ""
) -> Response:
    """Create an account with a key. The key is in this one response, and nowhere later."""
    path = f"{PROJECTS}/{project_id}/service_accounts"
    try:
        account = await api.post(path, {"name": name})
    except ApiCallError as error:
        return await _render_project(request, api, project_id, problem=str(error), name=name)
    return await _render_project(request, api, project_id, new_key=account["api_key"])


@router.post("/projects/{project_id}/service_accounts/{account_id}/keys")
async def create_key(project_id: str, account_id: str, request: Request, api: ApiDep) -> Response:
    path = f"{PROJECTS}/{project_id}/service_accounts/{account_id}/api_keys"
    key = await api.post(path, {})
    return await _render_project(request, api, project_id, new_key=key)


@router.post("/projects/{project_id}/service_accounts/{account_id}/delete")
async def delete_service_account(
    project_id: str, account_id: str, request: Request, api: ApiDep
) -> Response:
    await api.delete(f"{PROJECTS}/{project_id}/service_accounts/{account_id}")
    return _go(request, f"/projects/{project_id}")


@router.post("/projects/{project_id}/keys/{key_id}/delete")
async def revoke_key(project_id: str, key_id: str, request: Request, api: ApiDep) -> Response:
    await api.delete(f"{PROJECTS}/{project_id}/api_keys/{key_id}")
    return _go(request, f"/projects/{project_id}")


@router.get("/admin-keys")
async def list_admin_keys(request: Request, api: ApiDep) -> Response:
    return await _render_admin_keys(request, api)


@router.post("/admin-keys")
async def create_admin_key(request: Request, api: ApiDep, name: Name = "") -> Response:
    try:
        key = await api.post(ADMIN_KEYS, {"name": name})
    except ApiCallError as error:
        return await _render_admin_keys(request, api, problem=str(error), name=name)
    return await _render_admin_keys(request, api, new_key=key)


@router.post("/admin-keys/{key_id}/delete")
async def revoke_admin_key(key_id: str, request: Request, api: ApiDep) -> Response:
    await api.delete(f"{ADMIN_KEYS}/{key_id}")
    return _go(request, "/admin-keys")


@router.get("/usage")
async def show_usage(request: Request, api: ApiDep) -> Response:
    start = int(time.time()) // DAY_SECONDS * DAY_SECONDS - (USAGE_DAYS - 1) * DAY_SECONDS
    query: dict[str, Any] = {
        "start_time": start,
        "bucket_width": "1d",
        "limit": USAGE_DAYS + 1,
    }
    tokens, costs, projects = await asyncio.gather(
        api.get("/v1/organization/usage/completions", query | {"group_by": ["model"]}),
        api.get("/v1/organization/costs", query | {"group_by": ["project_id"]}),
        api.get(PROJECTS, PAGE),
    )
    names = {project["id"]: project["name"] for project in projects["data"]}
    return render(
        request,
        "settings_usage.html",
        days=USAGE_DAYS,
        chart=build_bars(
            [_sum_tokens(bucket["results"]) for bucket in tokens["data"]],
            [bucket["start_time"] for bucket in tokens["data"]],
        ),
        models=_total(tokens["data"], "model", _count_tokens),
        costs=_total(costs["data"], "project_id", lambda row: row["amount"]["value"]),
        names=names,
    )


async def _render_projects(request: Request, api: ApiDep, **form: str) -> Response:
    projects = await api.get(PROJECTS, PAGE)
    return render(
        request,
        "settings_projects.html",
        status=400 if form else 200,
        projects=projects["data"],
        has_more=projects["has_more"],
        form=EMPTY_FORM | form,
    )


async def _render_project(
    request: Request, api: ApiDep, project_id: str, *, new_key: Any = None, **form: str
) -> Response:
    project, keys, accounts = await asyncio.gather(
        api.get(f"{PROJECTS}/{project_id}"),
        api.get(f"{PROJECTS}/{project_id}/api_keys", PAGE),
        api.get(f"{PROJECTS}/{project_id}/service_accounts", PAGE),
    )
    return render(
        request,
        "settings_project.html",
        status=400 if form else 200,
        project=project,
        keys=keys["data"],
        accounts=accounts["data"],
        new_key=new_key,
        form=EMPTY_FORM | form,
    )


async def _render_admin_keys(
    request: Request, api: ApiDep, *, new_key: Any = None, **form: str
) -> Response:
    keys = await api.get(ADMIN_KEYS, PAGE)
    return render(
        request,
        "settings_admin_keys.html",
        status=400 if form else 200,
        keys=keys["data"],
        new_key=new_key,
        form=EMPTY_FORM | form,
    )


def _go(request: Request, path: str) -> Response:
    return RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/settings{path}", 303)


def _count_tokens(row: dict[str, Any]) -> int:
    return int(row["input_tokens"]) + int(row["output_tokens"])


def _sum_tokens(rows: list[dict[str, Any]]) -> int:
    return sum(map(_count_tokens, rows))


def _total(buckets: list[dict[str, Any]], group: str, measure: Any) -> list[tuple[str, float]]:
    """Sum the rows of all buckets by a group, the largest first."""
    totals: dict[str, float] = {}
    for bucket in buckets:
        for row in bucket["results"]:
            name = row[group] or formatting.UNKNOWN
            totals[name] = totals.get(name, 0) + measure(row)
    return sorted(totals.items(), key=lambda item: -item[1])
