"""Evals: their runs, the results of each criterion and item, and imports."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi import Query as QueryParam

from app.console import live
from app.console.api_client import ApiCallError, ApiClient, Query, build_path
from app.console.dependencies import ApiDep
from app.console.live import LiveMessage
from app.console.page import get_prefix, render, render_fragment
from app.http.console_cookie import CONSOLE_PATH

RUNS_PER_PAGE = 50
ITEMS_PER_PAGE = 20
MAX_LISTED_FILES = 200
# As the API has it.
MAX_IMPORTED_CHARS = 2**20

router = APIRouter(prefix=f"{CONSOLE_PATH}/evaluations", include_in_schema=False)

Cursor = Annotated[str | None, QueryParam(max_length=256)]


@router.get("/import")
async def show_import(request: Request, api: ApiDep) -> Response:
    return render(request, "eval_import.html", content="", judge="", problem=None, imported=None)


@router.post("/import")
async def import_evals(
    request: Request,
    api: ApiDep,
    content: Annotated[str, Form(max_length=2 * MAX_IMPORTED_CHARS)] = "",
    judge_model: Annotated[str, Form(max_length=256)] = "",
) -> Response:
    """Import an export of OpenAI's evals, or a config of promptfoo."""
    body = {"content": content, "judge_model": judge_model.strip() or None}
    try:
        imported = await api.post("/v1/evals/import", body)
    except ApiCallError as error:
        return render(
            request,
            "eval_import.html",
            status=error.status,
            content=content,
            judge=judge_model,
            problem=error,
            imported=None,
        )
    return render(
        request, "eval_import.html", content="", judge="", problem=None, imported=imported
    )


@router.get("/evals/{eval_id}")
async def show_eval(request: Request, api: ApiDep, eval_id: str, after: Cursor = None) -> Response:
    """An eval: its criteria, and its runs with their results."""
    path = build_path("v1", "evals", eval_id)
    query: Query = {"limit": RUNS_PER_PAGE, "order": "desc", "after": after}
    parent, runs = await asyncio.gather(api.get(path), api.get(f"{path}/runs", query))
    return render(
        request,
        "eval.html",
        eval=parent,
        runs=runs["data"],
        older=runs["last_id"] if runs["has_more"] else None,
    )


@router.get("/evals/{eval_id}/runs/{run_id}")
async def show_run(
    request: Request,
    api: ApiDep,
    eval_id: str,
    run_id: str,
    status: Literal["pass", "fail", "error"] | None = None,
    after: Cursor = None,
) -> Response:
    """A run: its results by criterion, and its items."""
    query: Query = {"limit": ITEMS_PER_PAGE, "status": status, "after": after}
    results, items, files = await asyncio.gather(
        _load_run(api, eval_id, run_id),
        api.get(f"{_run_path(eval_id, run_id)}/output_items", query),
        api.get("/v1/files", {"purpose": "fine-tune", "limit": MAX_LISTED_FILES}),
    )
    return render(
        request,
        "eval_run.html",
        **results,
        items=items["data"],
        shown=status,
        older=items["last_id"] if items["has_more"] else None,
        files=files["data"],
        build_row=_build_row,
    )


@router.get("/evals/{eval_id}/runs/{run_id}/live")
async def follow_run(request: Request, api: ApiDep, eval_id: str, run_id: str) -> Response:
    prefix = get_prefix(request)

    async def render_results(client: ApiClient) -> list[LiveMessage]:
        html = render_fragment(
            prefix, "eval_run_results.html", **await _load_run(client, eval_id, run_id)
        )
        return [LiveMessage("results", f'<hx-partial id="run-results">{html}</hx-partial>')]

    return live.respond(request, api, render_results)


async def _load_run(api: ApiClient, eval_id: str, run_id: str) -> dict[str, Any]:
    parent, run = await asyncio.gather(
        api.get(build_path("v1", "evals", eval_id)), api.get(_run_path(eval_id, run_id))
    )
    names = {criterion["id"]: criterion["name"] for criterion in parent["testing_criteria"]}
    return {"eval": parent, "run": run, "names": names}


def _run_path(eval_id: str, run_id: str) -> str:
    return build_path("v1", "evals", eval_id, "runs", run_id)


def _build_row(item: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a training file that an item's request and answer make; None without a request."""
    sample = item["sample"]
    if not sample["input"]:
        return None
    answer = sample["output"][-1]["content"] if sample["output"] else ""
    return {"messages": [*sample["input"], {"role": "assistant", "content": answer or ""}]}
