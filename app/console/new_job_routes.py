"""A new job in four steps: data, model, numbers, review."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from app.console import job_draft, model_list, number_fields
from app.console.api_client import ApiCallError, ApiClient, Query, build_path
from app.console.dependencies import ApiDep
from app.console.job_draft import FILE_ROLES, STEPS_BY_FIELD, JobDraft, Step
from app.console.page import get_prefix, get_settings, render
from app.errors import NotFound
from app.http.console_cookie import CONSOLE_PATH
from app.http.public_origin import find_origin

# Files to choose from; a search finds the others.
MAX_CHOICES = 12
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "workshop.train.jsonl"

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/jobs/new")
async def show_new_job(request: Request, api: ApiDep, step: str = "data") -> Response:
    draft = JobDraft.parse(request.query_params)
    chosen = Step(step) if step in list(Step) else Step.DATA
    return await _render(request, api, draft, chosen, {})


@router.get("/jobs/new/estimate")
async def show_estimate(request: Request, api: ApiDep) -> Response:
    """Show an estimate of the job: a part of the last two steps."""
    draft = JobDraft.parse(request.query_params)
    estimate: dict[str, Any] | None = None
    trouble: str | None = None
    try:
        estimate = await api.post("/v1/fine_tuning/jobs/estimate", draft.build_body())
    except ApiCallError as error:
        trouble = str(error)
    return render(
        request,
        "new_job_estimate.html",
        estimate=estimate,
        trouble=trouble,
        number_fields=number_fields.BY_NAME,
    )


@router.get("/jobs/new/example")
async def get_example(api: ApiDep) -> Response:
    """The example, which a script uploads as if it had been dropped."""
    if not EXAMPLE.exists():
        raise NotFound("This installation has no example.")
    return FileResponse(EXAMPLE, media_type="application/jsonl")


@router.post("/jobs/new")
async def create_job(request: Request, api: ApiDep) -> Response:
    """Start the job that the URL describes; an error leads to the step of the field it names."""
    draft = JobDraft.parse(request.query_params)
    try:
        job = await api.post("/v1/fine_tuning/jobs", draft.build_body())
    except ApiCallError as error:
        field = job_draft.find_field(error)
        step = STEPS_BY_FIELD[field] if field else Step.REVIEW
        return await _render(request, api, draft, step, {field or "": str(error)}, error.status)
    prefix = f"{get_prefix(request)}{CONSOLE_PATH}"
    return RedirectResponse(f"{prefix}{build_path('jobs', job['id'])}", 303)


async def _render(
    request: Request,
    api: ApiClient,
    draft: JobDraft,
    step: Step,
    errors: Mapping[str, str],
    status: int = 200,
) -> Response:
    """Render a step; `errors` are sentences by field, that of no field by the empty name."""
    files = await _load_files(api, draft)
    training = files.get("training_file")
    format = training["validation"]["format"] if training and training["validation"] else None
    context: dict[str, Any] = {"format": format, "chosen_files": files}
    match step:
        case Step.DATA:
            context |= await _load_data(api, request.query_params.get("find", "")[:128])
        case Step.MODEL:
            context |= await _load_models(api, draft, format)
        case Step.NUMBERS:
            fields = number_fields.list_fields(draft.method)
            context |= {
                "basic_fields": [field for field in fields if field.is_basic],
                "other_fields": [field for field in fields if not field.is_basic],
            }
        case Step.REVIEW:
            body = draft.build_body()
            api_url = f"{find_origin(request.scope, get_settings(request))}{get_prefix(request)}/v1"
            context |= {
                "curl": job_draft.write_curl(body, api_url),
                "python": job_draft.write_python(body, api_url),
                "missing": [field for field in ("training_file", "model") if not draft.get(field)],
            }
    return render(
        request,
        f"new_job_{step}.html",
        status=status,
        draft=draft,
        step=step,
        steps=list(Step),
        errors=errors,
        number_fields=number_fields.BY_NAME,
        **context,
    )


async def _load_files(api: ApiClient, draft: JobDraft) -> dict[str, Any]:
    """Load the chosen files with their verdicts, by role."""
    roles = [role for role in FILE_ROLES if draft.get(role)]
    files = await asyncio.gather(*(_load_file(api, draft.get(role)) for role in roles))
    return dict(zip(roles, files, strict=True))


async def _load_file(api: ApiClient, file_id: str) -> dict[str, Any]:
    path = build_path("v1", "files", file_id)
    try:
        file, validation = await asyncio.gather(api.get(path), api.get(f"{path}/validation"))
    except ApiCallError as error:
        # Deleted since the link was made; the page says so in its place.
        return {"file": None, "validation": None, "trouble": str(error), "is_ready": False}
    is_ready = file["status"] == "processed" and file["purpose"] == "fine-tune"
    return {"file": file, "validation": validation, "trouble": None, "is_ready": is_ready}


async def _load_data(api: ApiClient, find: str) -> dict[str, Any]:
    query: Query = {"purpose": "fine-tune", "status": "processed", "limit": MAX_CHOICES}
    files = await api.get("/v1/files", {**query, "search": find or None})
    return {
        "files": files["data"],
        "has_more": files["has_more"],
        "find": find,
        "example_name": EXAMPLE.name if EXAMPLE.exists() else "",
    }


async def _load_models(api: ApiClient, draft: JobDraft, format: str | None) -> dict[str, Any]:
    models = await model_list.list_trainable(api)
    fitting = {model["id"]: model_list.list_methods(model, format) for model in models}
    methods = list(dict.fromkeys(name for names in fitting.values() for name in names))
    first = next((name for name, names in fitting.items() if names), "")
    return {
        "models": models,
        "fitting": fitting,
        "methods": methods,
        "selected_model": draft.get("model") or first,
        "selected_method": draft.get("method") if draft.get("method") in methods else None,
    }
