"""Pages of files: the list, and one file with its verdict, its rows, and its deletion."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.console import fault_marks, row_view
from app.console.api_client import ApiCallError, ApiClient, build_path
from app.console.dependencies import ApiDep
from app.console.model_list import list_methods, list_trainable
from app.console.page import get_prefix, render
from app.http.console_cookie import CONSOLE_PATH

FILES_PER_PAGE = 50
ROWS_PER_PAGE = 10
TRAINING = "fine-tune"

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/files")
async def show_files(
    request: Request,
    api: ApiDep,
    search: Annotated[str, Query(max_length=128)] = "",
    purpose: str = "",
    status: str = "",
    after: str = "",
) -> Response:
    """The list, or only its table where a script asks for a part of the page."""
    chosen = {"search": search, "purpose": purpose, "status": status}
    query = {name: value for name, value in chosen.items() if value}
    files = await api.get("/v1/files", {**query, "after": after or None, "limit": FILES_PER_PAGE})
    return render(request, "files.html", files=files, chosen=chosen, given=query, after=after)


@router.get("/files/{file_id}")
async def show_file(
    request: Request,
    api: ApiDep,
    file_id: str,
    model: str = "",
    split: str = "loss",
    after: str = "",
) -> Response:
    return render(request, "file.html", **await _load(api, file_id, model, split, after))


@router.get("/files/{file_id}/lines/{line}")
async def show_line(request: Request, api: ApiDep, file_id: str, line: int) -> Response:
    """One invalid line, with its fault marked: a part of the file's page."""
    return render(request, "file_line.html", line=await _load_line(api, file_id, line))


@router.post("/files/{file_id}/delete")
async def delete_file(request: Request, api: ApiDep, file_id: str) -> Response:
    try:
        await api.delete(build_path("v1", "files", file_id))
    except ApiCallError as error:
        if error.status == 404:
            raise
        # The file is in use: the page says by what.
        loaded = await _load(api, file_id, "", "loss", "")
        return render(request, "file.html", status=error.status, **loaded | {"problem": str(error)})
    return RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/files", 303)


async def _load(api: ApiClient, file_id: str, model: str, split: str, after: str) -> dict[str, Any]:
    path = build_path("v1", "files", file_id)
    file = await api.get(path)
    context: dict[str, Any] = {"file": file, "problem": None, "model": model, "split": split}
    if file["purpose"] != TRAINING:
        return context | {"validation": None, "page": None, "models": []}
    validation, models, page = await asyncio.gather(
        api.get(f"{path}/validation"),
        list_trainable(api),
        _load_rows(api, file_id, model, split, after),
    )
    first_line = None
    if validation["errors"]:
        first_line = await _load_line(api, file_id, validation["errors"][0]["line"])
    return context | {
        "validation": validation,
        "models": [each for each in models if list_methods(each, validation["format"])],
        "page": page,
        "first_line": first_line,
        "after": after,
    }


async def _load_rows(
    api: ApiClient, file_id: str, model: str, split: str, after: str
) -> dict[str, Any]:
    """Load a page of rows. Where the model's engine cannot render them, `trouble` says why, and
    the rows come as they are in the file."""
    path = build_path("v1", "files", file_id, "preview")
    query: dict[str, Any] = {"after": after or None, "limit": ROWS_PER_PAGE}
    trouble = None
    page: dict[str, Any]
    try:
        chosen: dict[str, Any] = {"model": model, "split": split} if model else {}
        page = await api.get(path, query | chosen)
    except ApiCallError as error:
        if not model and not after:
            # Without either, only a file that is gone or has no readable row fails.
            return {"data": [], "has_more": False, "trouble": str(error), "views": []}
        trouble = str(error)
        query |= {} if model else {"after": None}
        page = await api.get(path, query)
    views = [_view(row, page["format"]) for row in page["data"]]
    return page | {"trouble": trouble, "views": views}


def _view(row: dict[str, Any], format: str | None) -> row_view.RowView | None:
    if row["row"] is None:
        return None
    if row["rendered"] is not None:
        return row_view.build_rendered(row["rendered"])
    return row_view.build_row(row["row"], format)


async def _load_line(api: ApiClient, file_id: str, line: int) -> dict[str, Any]:
    """Load an invalid line. `text` is None where it is too long, or too far into the file."""
    path = build_path("v1", "files", file_id, "preview")
    loaded: dict[str, Any] = {"number": line, "text": None, "trouble": None}
    try:
        page = await api.get(path, {"after": str(line - 1) if line > 1 else None, "limit": 1})
    except ApiCallError as error:
        return loaded | {"trouble": str(error)}
    row = next(iter(page["data"]), None)
    if row is None or row["error"] is None or row["error"]["line"] is None:
        return loaded
    return loaded | {"text": fault_marks.mark_fault(row["error"]["line"], row["error"]["reason"])}
