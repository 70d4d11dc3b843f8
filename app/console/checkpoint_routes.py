"""Checkpoints of a job: their answers to the same prompts side by side, to choose one by eye."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.console.api_client import ApiCallError, ApiClient, build_path
from app.console.dependencies import ApiDep
from app.console.model_choice import Task
from app.console.page import render
from app.http.console_cookie import CONSOLE_PATH

MAX_PROMPTS = 5
# The API keeps fewer of each job; a page of more is not readable.
MAX_CHECKPOINTS = 12

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


class PromptSource(StrEnum):
    """The file whose rows are asked, or none: prompts are typed."""

    TEST = "test"
    VALIDATION = "validation"
    TYPED = "typed"


@router.get("/jobs/{job_id}/checkpoints")
async def show_checkpoints(
    request: Request,
    api: ApiDep,
    job_id: str,
    source: PromptSource | None = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Prompts by models: the base model, the checkpoints, and the job's model."""
    path = build_path("v1", "fine_tuning", "jobs", job_id)
    job, checkpoints, aliases = await asyncio.gather(
        api.get(path),
        api.get(f"{path}/checkpoints", {"limit": MAX_CHECKPOINTS}),
        api.get("/v1/aliases"),
    )
    sources = [
        each
        for each in PromptSource
        if each is PromptSource.TYPED or job[f"{each}_file"] is not None
    ]
    chosen = source if source in sources else sources[0]
    prompts = await _read_prompts(api, job, chosen, after)
    return render(
        request,
        "checkpoints.html",
        job=job,
        task=_find_task(job),
        columns=_list_columns(job, checkpoints["data"]),
        aliases={alias["name"]: alias["model"] for alias in aliases["data"]},
        sources=sources,
        source=chosen,
        prompts=prompts["data"],
        following=prompts["last_id"] if prompts["has_more"] else None,
        problem=prompts.get("problem"),
        max_prompts=MAX_PROMPTS,
    )


async def _read_prompts(
    api: ApiClient, job: Mapping[str, Any], source: PromptSource, after: str | None
) -> dict[str, Any]:
    nothing: dict[str, Any] = {"data": [], "last_id": None, "has_more": False}
    if source is PromptSource.TYPED:
        return nothing
    path = build_path("v1", "files", job[f"{source}_file"], "preview")
    try:
        page: dict[str, Any] = await api.get(path, {"limit": MAX_PROMPTS, "after": after})
    except ApiCallError as error:
        return nothing | {"problem": str(error)}
    return page | {"data": [row["row"] for row in page["data"] if row["row"] is not None]}


def _find_task(job: Mapping[str, Any]) -> Task:
    method = job["method"]["type"]
    return Task(method) if method in set(Task) else Task.CHAT


def _list_columns(
    job: Mapping[str, Any], checkpoints: list[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """List the models to compare: name, title, and the numbers of a checkpoint."""
    final = job["fine_tuned_model"]
    columns = [
        {
            "model": checkpoint["fine_tuned_model_checkpoint"],
            "title": f"Step {checkpoint['step_number']}",
            "metrics": checkpoint["metrics"],
        }
        for checkpoint in sorted(checkpoints, key=lambda each: each["step_number"])
        if checkpoint["fine_tuned_model_checkpoint"] != final
    ]
    # A base encoder has no head for the task, so that it could not answer.
    if _find_task(job) is Task.CHAT:
        columns.insert(0, {"model": job["model"], "title": "Start", "metrics": {}})
    if final:
        # One of the checkpoints may be the final model itself.
        metrics = {each["fine_tuned_model_checkpoint"]: each["metrics"] for each in checkpoints}
        columns.append({"model": final, "title": "Final", "metrics": metrics.get(final, {})})
    return columns
