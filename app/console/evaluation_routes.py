"""Evaluations: results of jobs' test files and the rows behind them."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Query as QueryParam

from app.console import evaluation_report as reports
from app.console.api_client import ApiClient, Query, build_path
from app.console.dependencies import ApiDep
from app.console.evaluation_report import Split
from app.console.evaluation_rows import (
    RowChoice,
    RowFilter,
    describe_answer,
    describe_prompt,
    select_page,
    split_by_spans,
)
from app.console.file_content import (
    MAX_CONTENT_BYTES,
    MAX_RESULT_BYTES,
    find_rows,
    parse_result,
    read_start,
)
from app.console.page import render
from app.http.console_cookie import CONSOLE_PATH
from app.http.dependencies import AppState, AppStateDep

JOBS_PER_PAGE = 100
MAX_LISTED_FILES = 200
# Beside step_metrics.csv, a job that measured something has evaluation.json.
FILES_WITH_EVALUATION = 2

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/evaluations")
async def show_evaluations(
    request: Request, api: ApiDep, after: Annotated[str | None, QueryParam(max_length=256)] = None
) -> Response:
    """Jobs whose models were measured, and evals."""
    query: Query = {"status": "succeeded", "limit": JOBS_PER_PAGE, "after": after}
    jobs, evals = await asyncio.gather(
        api.get("/v1/fine_tuning/jobs", query),
        api.get("/v1/evals", {"limit": 100, "order": "desc"}),
    )
    measured = [job for job in jobs["data"] if _is_measured(job)]
    return render(
        request,
        "evaluations.html",
        jobs=[(job, reports.find_main_metric(job["test_results"] or {})) for job in measured],
        older=jobs["data"][-1]["id"] if jobs["has_more"] else None,
        evals=evals["data"],
    )


@router.get("/evaluations/jobs/{job_id}")
async def show_job_evaluation(
    request: Request,
    state: AppStateDep,
    api: ApiDep,
    job_id: str,
    split: Split | None = None,
    show: RowFilter = RowFilter.WRONG,
    expected: Annotated[str | None, QueryParam(max_length=1024)] = None,
    found: Annotated[str | None, QueryParam(max_length=1024)] = None,
    page: Annotated[int, QueryParam(ge=1, le=100_000)] = 1,
) -> Response:
    """One model: its metrics beside its base model's, its errors, and the rows behind them."""
    job, files = await asyncio.gather(
        api.get(build_path("v1", "fine_tuning", "jobs", job_id)),
        api.get("/v1/files", {"purpose": "fine-tune", "limit": MAX_LISTED_FILES}),
    )
    report, has_rows = await _read_report(state, api, job)
    splits = reports.list_splits(report)
    shown = split if split in splits else splits[0] if splits else Split.TEST
    part = reports.select_split(report, shown) if splits else {}
    file_id = job["test_file"] if shown is Split.TEST else job["validation_file"]
    file = await find_rows(api, file_id) if splits and file_id else None

    def build() -> Response:
        return render(
            request,
            "evaluation_job.html",
            job=job,
            part=part,
            splits=splits,
            shown=shown,
            file_id=file_id,
            metrics=reports.list_metrics(part),
            confusion=reports.read_confusion(part),
            calibration=reports.read_calibration(part),
            labels=reports.list_labels(part),
            page=select_page(part, file, RowChoice(show, expected, found, page)),
            has_rows=has_rows,
            file=file,
            max_bytes=MAX_CONTENT_BYTES,
            show=show,
            filters=list(RowFilter),
            expected=expected,
            found=found,
            files=files["data"],
            describe_prompt=describe_prompt,
            describe_answer=describe_answer,
            split_by_spans=split_by_spans,
            build_corrected=_build_corrected,
        )

    # Takes seconds for long files and reports, in which other requests go on.
    return await state.json_threads.run(build)


def _is_measured(job: Mapping[str, Any]) -> bool:
    has_file = len(job["result_files"]) >= FILES_WITH_EVALUATION
    return bool(job["test_results"] or job["evaluations"] or has_file)


async def _read_report(
    state: AppState, api: ApiClient, job: Mapping[str, Any]
) -> tuple[Mapping[str, Any], bool]:
    """Read evaluation.json; also whether it was. If it is too long, the job has its numbers.

    Raises ApiCallError.
    """
    if len(job["result_files"]) < FILES_WITH_EVALUATION:
        return {}, True
    file = await read_start(api, job["result_files"][-1], MAX_RESULT_BYTES)
    if file.is_cut:
        return ({"test": job["test_results"]} if job["test_results"] else {}), False
    return await state.json_threads.run(parse_result, file.content), True


def _build_corrected(row: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """The row to begin a correction with: a chat has the right answer as its last message."""
    if isinstance(row.get("messages"), list):
        return {
            **row,
            "messages": [*row["messages"][:-1], {"role": "assistant", "content": answer}],
        }
    return dict(row)
