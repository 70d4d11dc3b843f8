"""Parts of a file's page that take longer: lengths, tokens, equal rows, and leakage."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.console.api_client import Query as ApiQuery
from app.console.api_client import build_path
from app.console.dependencies import ApiDep
from app.console.page import render
from app.http.console_cookie import CONSOLE_PATH

# Files to compare with; the newest ones.
MAX_CHOICES = 50

router = APIRouter(prefix=f"{CONSOLE_PATH}/files/{{file_id}}", include_in_schema=False)


@router.get("/statistics")
async def show_statistics(request: Request, api: ApiDep, file_id: str, model: str = "") -> Response:
    path = build_path("v1", "files", file_id, "statistics")
    statistics = await api.get(path, {"model": model or None})
    return render(request, "file_statistics.html", statistics=statistics, file_id=file_id)


@router.get("/leakage")
async def show_leakage(
    request: Request,
    api: ApiDep,
    file_id: str,
    training_file: Annotated[str, Query(max_length=128)] = "",
) -> Response:
    """The form that chooses the training file, and its result once one is chosen."""
    path = build_path("v1", "files", file_id)
    query: ApiQuery = {"purpose": "fine-tune", "status": "processed", "limit": MAX_CHOICES}
    file, files = await asyncio.gather(api.get(path), api.get("/v1/files", query))
    leakage = None
    if training_file:
        leakage = await api.get(f"{path}/leakage", {"training_file": training_file})
    others = [each for each in files["data"] if each["id"] != file_id]
    return render(
        request,
        "file_leakage.html",
        file=file,
        others=others,
        training_file=training_file,
        leakage=leakage,
    )
