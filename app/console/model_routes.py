"""Models: base and fine-tuned ones, and for each its traffic, export, permissions and deletion."""

import asyncio
import time
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.console.api_client import ApiCallError, ApiClient
from app.console.bar_charts import Bar, build_bars
from app.console.dependencies import ApiDep
from app.console.model_choice import MAX_LISTED_MODELS
from app.console.page import get_prefix, render
from app.http.console_cookie import CONSOLE_PATH

HOUR_SECONDS = 3600
# Charts by the fields of the report that have their histograms.
HISTOGRAMS = (
    ("length", "input_length", "up to {:g} tokens"),
    ("unknown", "unknown_tokens", "up to {:.0%}"),
    ("confidence", "confidence", "up to {:.0%}"),
)
HOURS = {"24": "Last day", "168": "Last week", "720": "Last month"}
# Ends of paths below a model's that are no names: a page must not start an export.
SUBROUTES = ("/export", "/monitoring", "/feedback")
# Export formats by the kind of the base model, with what each is for.
EXPORT_FORMATS = {
    "causal": {
        "peft": "PEFT adapter",
        "merged": "Merged weights for transformers",
        "gguf": "GGUF for llama.cpp",
    },
    "encoder": {
        "peft": "PEFT adapter",
        "hf": "Whole model for transformers",
        "onnx": "ONNX for ONNX Runtime",
    },
}

# Of a model whose base the catalog no longer has.
NO_DETAILS: dict[str, Any] = dict.fromkeys(
    ("base_model", "kind", "method", "context_length", "license", "job_id", "engine", "alias_of")
) | {"methods": []}

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/models")
async def list_models(
    request: Request,
    api: ApiDep,
    q: str = "",
    alias: Annotated[str, Query(max_length=256)] = "",
    target: Annotated[str, Query(max_length=256)] = "",
) -> Response:
    """The lists; `alias` and `target` fill in the form for an alias."""
    return await render_models(request, api, q=q, form={"name": alias, "model": target})


async def render_models(
    request: Request,
    api: ApiClient,
    *,
    form: dict[str, str],
    q: str = "",
    problem: ApiCallError | None = None,
) -> Response:
    """Render the lists of models and aliases, with what is wrong about the form for an alias."""
    models, aliases = await asyncio.gather(
        api.get("/v1/models", {"include": "details"}), api.get("/v1/aliases")
    )
    filled = [_fill(model) for model in models["data"]]
    found = [model for model in filled if q.lower() in model["id"].lower()]
    tuned = [model for model in filled if _is_tuned(model)]
    return render(
        request,
        "models.html",
        status=200 if problem is None else problem.status,
        q=q,
        total=len(models["data"]),
        tuned=[model for model in found if _is_tuned(model)],
        base=[model for model in found if model["owned_by"] == "system"],
        aliases=aliases["data"],
        targets=[model["id"] for model in tuned[:MAX_LISTED_MODELS]],
        form=form,
        problem=problem and str(problem),
        wrong_field=problem and problem.param,
    )


@router.get("/models/{name:path}")
async def show_model(
    name: str,
    request: Request,
    api: ApiDep,
    hours: Annotated[str, Query(pattern=r"^(24|168|720)$")] = "24",
) -> Response:
    if name.endswith(SUBROUTES):
        raise ApiCallError(404, {"message": f"There is no model {name}."})
    model, aliases, report, permissions = await asyncio.gather(
        api.get(f"/v1/models/{name}", {"include": "details"}),
        api.get("/v1/aliases"),
        _get_monitoring(api, name, hours),
        _list_permissions(api, name),
    )
    alias_of = _fill(model)["details"]["alias_of"]
    if alias_of is not None and model["owned_by"] != "system":
        return _back_to(request, alias_of)
    return render(
        request,
        "model.html",
        model=model,
        aliases=[alias["name"] for alias in aliases["data"] if alias["model"] == model["id"]],
        details=_fill(model)["details"],
        report=report,
        charts={} if report is None else _build_charts(report),
        hours=hours,
        hour_choices=HOURS,
        permissions=permissions,
        formats=EXPORT_FORMATS.get(_fill(model)["details"]["kind"], {}),
        is_tuned=model["owned_by"] != "system",
    )


@router.post("/models/{name:path}/permissions")
async def share_model(
    name: str, request: Request, api: ApiDep, project_id: Annotated[str, Form(max_length=256)]
) -> Response:
    path = _permissions_path(name)
    await api.post(path, {"project_ids": [project_id]})
    return _back_to(request, name)


# Before the route that deletes models, which matches this path too.
@router.post("/models/{name:path}/permissions/{permission_id}/delete")
async def unshare_model(name: str, permission_id: str, request: Request, api: ApiDep) -> Response:
    await api.delete(f"{_permissions_path(name)}/{permission_id}")
    return _back_to(request, name)


@router.post("/models/{name:path}/delete")
async def delete_model(name: str, request: Request, api: ApiDep) -> Response:
    await api.delete(f"/v1/models/{name}")
    return RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/models", 303)


def _fill(model: dict[str, Any]) -> dict[str, Any]:
    return model | {"details": NO_DETAILS | (model.get("details") or {})}


def _is_tuned(model: dict[str, Any]) -> bool:
    """True for a fine-tuned model, by its own name."""
    return model["owned_by"] != "system" and model["details"]["alias_of"] is None


def _permissions_path(name: str) -> str:
    return f"/v1/fine_tuning/checkpoints/{name}/permissions"


def _back_to(request: Request, name: str) -> Response:
    return RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/models/{quote(name)}", 303)


async def _get_monitoring(api: ApiClient, name: str, hours: str) -> dict[str, Any] | None:
    """The report on a fine-tuned model's traffic; None for a model that has none."""
    try:
        report: dict[str, Any] = await api.get(f"/v1/models/{name}/monitoring", {"hours": hours})
    except ApiCallError as error:
        if error.status >= 500:
            raise
        return None
    return report


async def _list_permissions(api: ApiClient, name: str) -> dict[str, Any] | None:
    """The projects that may use the model, and all others; None for a user who is no admin."""
    if api.identity.admin is None or not name.startswith("ft:"):
        return None
    path = _permissions_path(name)
    granted, projects = await asyncio.gather(
        api.get(path, {"limit": 100}), api.get("/v1/organization/projects", {"limit": 100})
    )
    names = {project["id"]: project["name"] for project in projects["data"]}
    own = api.identity.project.project_id if api.identity.project else None
    taken = {row["project_id"] for row in granted["data"]} | {own}
    return {
        "granted": [row | {"name": names.get(row["project_id"])} for row in granted["data"]],
        "others": [(key, label) for key, label in names.items() if key not in taken],
    }


def _build_charts(report: dict[str, Any]) -> dict[str, Any]:
    """Build bars of a report: requests of each hour, and histograms beside the training file's."""
    requests = {row["hour"]: row["requests"] for row in report["by_hour"]}
    newest = int(time.time()) // HOUR_SECONDS * HOUR_SECONDS
    hours = range(newest - (report["hours"] - 1) * HOUR_SECONDS, newest + 1, HOUR_SECONDS)
    charts = {
        "requests": build_bars([requests.get(hour, 0) for hour in hours], hours),
        "latency": _build_histogram(report["latency"]["seconds"], None, "up to {:g} s"),
    }
    for name, field, label in HISTOGRAMS:
        if part := report.get(field):
            charts[name] = _build_histogram(part["live"], part.get("training"), label)
    return charts


def _build_histogram(
    live: dict[str, Any], training: dict[str, Any] | None, label: str
) -> list[Bar]:
    longest = max(live["upper_bounds"], (training or live)["upper_bounds"], key=len)
    labels = [label.format(bound) for bound in longest]
    return build_bars(live["counts"], labels, training["counts"] if training else ())
