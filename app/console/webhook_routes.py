"""Settings of a project's webhooks: endpoints, their deliveries, and test events."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from app.console.api_client import ApiCallError, ApiClient
from app.console.dependencies import ApiDep
from app.console.page import get_prefix, render
from app.http.console_cookie import CONSOLE_PATH

ENDPOINTS = "/v1/webhook_endpoints"
PAGE = {"limit": 100}

router = APIRouter(prefix=f"{CONSOLE_PATH}/settings/webhooks", include_in_schema=False)


@router.get("")
async def list_endpoints(request: Request, api: ApiDep) -> Response:
    return await _render_list(request, api)


@router.post("")
async def create_endpoint(
    request: Request,
    api: ApiDep,
    name: Annotated[str, Form(max_length=1000)] = "",
    url: Annotated[str, Form(max_length=4000)] = "",
    event_types: Annotated[list[str] | None, Form(max_length=100)] = None,
) -> Response:
    body = {"name": name, "url": url, "event_types": event_types or []}
    try:
        endpoint = await api.post(ENDPOINTS, body)
    except ApiCallError as error:
        return await _render_list(request, api, form=body, problem=error)
    return await _render_endpoint(request, api, endpoint["id"], secret=endpoint["signing_secret"])


@router.get("/{endpoint_id}")
async def show_endpoint(endpoint_id: str, request: Request, api: ApiDep) -> Response:
    return await _render_endpoint(request, api, endpoint_id)


@router.post("/{endpoint_id}/test")
async def send_test(
    endpoint_id: str, request: Request, api: ApiDep, event_type: Annotated[str, Form(max_length=99)]
) -> Response:
    path = f"{ENDPOINTS}/{endpoint_id}/test"
    try:
        answer = await api.post(path, {"event_type": event_type})
    except ApiCallError as error:
        return await _render_endpoint(request, api, endpoint_id, problem=str(error))
    note = f"The receiver answered the test event with status {answer['status_code']}."
    return await _render_endpoint(request, api, endpoint_id, note=note)


@router.post("/{endpoint_id}/rotate")
async def rotate_secret(endpoint_id: str, request: Request, api: ApiDep) -> Response:
    body = {"keep_old_secret_active_for_24_hours": True}
    endpoint = await api.post(f"{ENDPOINTS}/{endpoint_id}/rotate_secret", body)
    return await _render_endpoint(request, api, endpoint_id, secret=endpoint["signing_secret"])


@router.post("/{endpoint_id}/enable")
async def enable_endpoint(endpoint_id: str, request: Request, api: ApiDep) -> Response:
    """Enable an endpoint that a 410 disabled: any update does."""
    await api.post(f"{ENDPOINTS}/{endpoint_id}", {})
    return _go(request, f"/{endpoint_id}")


@router.post("/{endpoint_id}/delete")
async def delete_endpoint(endpoint_id: str, request: Request, api: ApiDep) -> Response:
    await api.delete(f"{ENDPOINTS}/{endpoint_id}")
    return _go(request, "")


async def _render_list(
    request: Request,
    api: ApiClient,
    *,
    form: dict[str, Any] | None = None,
    problem: ApiCallError | None = None,
) -> Response:
    endpoints, types = await asyncio.gather(
        api.get(ENDPOINTS, PAGE), api.get("/v1/webhook_event_types")
    )
    return render(
        request,
        "settings_webhooks.html",
        status=400 if problem else 200,
        endpoints=endpoints["data"],
        event_types=types["data"],
        form=form or {"name": "", "url": "", "event_types": types["data"]},
        problem=str(problem) if problem else None,
        wrong_field=problem.param if problem else None,
    )


async def _render_endpoint(
    request: Request,
    api: ApiClient,
    endpoint_id: str,
    *,
    secret: str | None = None,
    note: str | None = None,
    problem: str | None = None,
) -> Response:
    endpoint, deliveries = await asyncio.gather(
        api.get(f"{ENDPOINTS}/{endpoint_id}"),
        api.get(f"{ENDPOINTS}/{endpoint_id}/deliveries", {"limit": 50}),
    )
    return render(
        request,
        "settings_webhook.html",
        endpoint=endpoint,
        deliveries=deliveries["data"],
        secret=secret,
        note=note,
        problem=problem,
    )


def _go(request: Request, path: str) -> Response:
    url = f"{get_prefix(request)}{CONSOLE_PATH}/settings/webhooks{path}"
    return RedirectResponse(url, 303)
