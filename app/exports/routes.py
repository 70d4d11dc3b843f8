"""Route of /v1/models/{model}/export."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from app.db.tables import ExportState, ModelExport
from app.errors import InvalidRequest, ServiceUnavailable
from app.exports import service
from app.exports.archive_names import archive_name
from app.exports.byte_ranges import ByteRange, RangeNotSatisfiable, find_range, take_bytes
from app.exports.conversions import SERVICE_FAILURES
from app.exports.service import ExportInProgress, TooManyExports
from app.http.dependencies import AppState, AppStateDep, PrincipalDep, run_in_transaction
from app.http.openapi import (
    BINARY_SCHEMA,
    DocumentedRoute,
    error_responses,
    success_response,
)

# Must be included before the router of /v1/models/{model:path}, which matches this path too.
router = APIRouter(prefix="/v1/models", tags=["models"], route_class=DocumentedRoute)

POLL_INTERVAL_SECONDS = 0.5
# Per process.
MAX_WAITING_PER_PROJECT = 32
WAITING_STATES = (ExportState.QUEUED, ExportState.RUNNING)
# Below the ten minutes after which OpenAI's clients give up; the conversion goes on meanwhile.
MAX_WAIT_SECONDS = 570.0


class ExportFailed(ServiceUnavailable):
    """The model could not be converted. Retry in a minute."""

    code = "export_failed"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


@router.get(
    "/{model:path}/export",
    response_class=StreamingResponse,
    responses={
        **success_response("application/x-tar", BINARY_SCHEMA),
        206: {"description": "The part of the archive that `Range` asks for"},
        **error_responses(RangeNotSatisfiable),
    },
)
async def export_model(
    model: str,
    request: Request,
    state: AppStateDep,
    principal: PrincipalDep,
    format: Annotated[
        str,
        Query(
            max_length=20,
            description="`peft`, `merged` or `gguf` of a chat model; `peft`, `hf` or `onnx` of an "
            "encoder or classifier",
        ),
    ] = "peft",
) -> StreamingResponse:
    """Download a fine-tuned model as a tar archive, for other programs.

    A trainer makes the archive on the first request, which waits for it; later ones get it at once.
    `Range` asks for a part of it, with `If-Range` and its `ETag` to go on with a download.
    """
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while True:
        export = await _wait_until_ready(
            request, state, principal.project_id, model, format, deadline
        )
        part = find_range(request.headers, export.bytes or 0, _etag(export))
        chunks = await _open_archive(state, export, part)
        if chunks is not None:
            return _build_response(state, export, chunks, part)


async def _open_archive(
    state: AppState, export: ModelExport, part: ByteRange | None
) -> Iterator[bytes] | None:
    """Open the archive; if storage has lost it, return None and have it made again."""
    key = export.storage_key
    assert key is not None
    start, end = (0, export.bytes or 0) if part is None else (part.start, part.end)
    try:
        chunks = await state.transfer_threads.run(lambda: state.store.chunks(key, start=start))
        return take_bytes(chunks, end - start)
    except FileNotFoundError:
        await run_in_transaction(state, lambda session: service.make_again(session, export.id))
        return None


async def _wait_until_ready(
    request: Request, state: AppState, project_id: str, model: str, format_: str, deadline: float
) -> ModelExport:
    """Ask for the export until it is made, which also keeps it wanted."""

    def ask(session: Session) -> ModelExport:
        row = service.request(session, state.catalog, project_id, model, format_)
        session.expunge(row)
        return row

    export = await run_in_transaction(state, ask)
    if export.state in WAITING_STATES:
        with _count_waiting(state, project_id):
            while export.state in WAITING_STATES:
                if time.monotonic() > deadline or await request.is_disconnected():
                    raise ExportInProgress
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
                export = await run_in_transaction(state, ask)
    if export.state == ExportState.FAILED:
        raise _describe_failure(export)
    return export


@contextmanager
def _count_waiting(state: AppState, project_id: str) -> Iterator[None]:
    """Bound the requests of a project that wait here: each asks the database at an interval."""
    if state.waiting_exports[project_id] >= MAX_WAITING_PER_PROJECT:
        raise TooManyExports(
            f"This project already has {MAX_WAITING_PER_PROJECT} requests that wait for exports. "
            "Retry when they have ended."
        )
    state.waiting_exports[project_id] += 1
    try:
        yield
    finally:
        state.waiting_exports[project_id] -= 1
        if not state.waiting_exports[project_id]:
            del state.waiting_exports[project_id]


def _describe_failure(export: ModelExport) -> Exception:
    if export.error in SERVICE_FAILURES:
        return ExportFailed(export.error)
    return InvalidRequest(export.error, param="format")


def _etag(export: ModelExport) -> str:
    return f'"{export.sha256}"'


def _build_response(
    state: AppState, export: ModelExport, chunks: Iterator[bytes], part: ByteRange | None
) -> StreamingResponse:
    name = archive_name(export.model_name, export.format)
    digest = base64.b64encode(bytes.fromhex(export.sha256 or "")).decode()
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(export.bytes),
        "Content-Disposition": f'attachment; filename="{name}"',
        "ETag": _etag(export),
        "Repr-Digest": f"sha-256=:{digest}:",
    }
    if part is not None:
        headers["Content-Range"] = part.content_range
        headers["Content-Length"] = str(part.end - part.start)
    return StreamingResponse(
        _iterate_in_threads(state, chunks),
        status_code=200 if part is None else 206,
        media_type="application/x-tar",
        headers=headers,
    )


async def _iterate_in_threads(state: AppState, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read each chunk in a thread, which is free while the client reads it."""
    while (chunk := await state.transfer_threads.run(next, chunks, None)) is not None:
        yield chunk
