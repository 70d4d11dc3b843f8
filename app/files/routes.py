"""Routes of /v1/files."""

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.db.tables import File, FilePurpose, FileStatus
from app.errors import ApiError
from app.files import intake, serializers, service
from app.files.intake import IncomingFile
from app.files.room import Room, reserve_room
from app.files.schemas import (
    FileDeleted,
    FileFields,
    FileList,
    FileObject,
    FileValidation,
    UploadPurpose,
    sanitize_filename,
)
from app.http.dependencies import (
    AfterCursor,
    AppState,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    SessionDep,
    run_in_transaction,
)
from app.http.idempotency import (
    Idempotency,
    IdempotencyDep,
    IdempotentRoute,
    ReplayResponse,
    StoredResponse,
)
from app.http.multipart import FormParser, Sink, openapi_form, read_form
from app.http.openapi import BINARY_SCHEMA, success_response
from app.wire.base import fill_page, page_cursors

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=IdempotentRoute)

StatusFilter = Annotated[FileStatus | None, Query(description="Extension: files of this status")]
Search = Annotated[
    str | None,
    Query(min_length=1, max_length=128, description="Extension: a part of the name or the id"),
]
UPLOAD_FORM = openapi_form(
    {
        "file": BINARY_SCHEMA,
        "purpose": {"type": "string", "enum": list(get_args(UploadPurpose))},
        "expires_after[anchor]": {"type": "string", "const": "created_at"},
        "expires_after[seconds]": {"type": "integer"},
    },
    required=["file", "purpose"],
)


@router.post("", openapi_extra=UPLOAD_FORM)
async def create(
    request: Request, state: AppStateDep, principal: PrincipalDep, idempotency: IdempotencyDep
) -> FileObject:
    """Upload a file. A training file is validated line by line while it arrives."""
    # The transaction starts only when the file is stored, so that slow clients hold no database
    # connection.
    project_id, max_bytes = principal.project_id, state.settings.max_file_bytes
    length = request.headers.get("content-length")
    async with (
        state.upload_slots.slot(),
        reserve_room(state, project_id, length, max_bytes=max_bytes, files=1) as room,
    ):
        file, content_id = await _receive_file(request, state, project_id, room)
        add = partial(_add_once, idempotency, content_id, file, room)
        try:
            result = await run_in_transaction(state, add)
        except ApiError:
            # An Idempotency-Key of another request: no row refers to the stored content.
            await state.transfer_threads.run(state.store.delete, file.storage_key)
            raise
    if isinstance(result, StoredResponse):
        raise ReplayResponse(result)
    return result


@router.get("")
def list_files(
    principal: PrincipalDep,
    session: ReadSessionDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=0, le=10000)] = 10000,
    order: Literal["asc", "desc"] = "desc",
    after: AfterCursor = None,
    status: StatusFilter = None,
    search: Search = None,
) -> FileList:
    page = service.list_files(
        session,
        principal.project_id,
        purpose=purpose,
        order=order,
        after=after,
        limit=limit,
        status=status,
        search=search,
    )
    data, has_more = fill_page(map(serializers.serialize_file, page.rows), has_more=page.has_more)
    return FileList(data=data, has_more=has_more, **page_cursors(data))


@router.get("/{file_id}")
def retrieve(file_id: str, principal: PrincipalDep, session: ReadSessionDep) -> FileObject:
    return serializers.serialize_file(service.get(session, principal.project_id, file_id))


@router.get("/{file_id}/validation")
def get_validation(
    file_id: str, principal: PrincipalDep, session: ReadSessionDep
) -> FileValidation:
    """Validation report: the first 100 errors with line, byte offset and reason, and a summary of
    the valid examples. An extension: OpenAI shows only the first error, in `status_details`."""
    return serializers.serialize_validation(service.get(session, principal.project_id, file_id))


@router.delete("/{file_id}")
def delete(file_id: str, principal: PrincipalDep, session: SessionDep) -> FileDeleted:
    service.delete(session, principal.project_id, file_id)
    return FileDeleted(id=file_id, deleted=True)


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses=success_response("application/octet-stream", BINARY_SCHEMA),
)
def content(
    file_id: str, state: AppStateDep, principal: PrincipalDep, session: ReadSessionDep
) -> StreamingResponse:
    """Download a file's content. Result files are sent as base64 text, as OpenAI does."""
    file = service.get(session, principal.project_id, file_id)
    download = service.download(
        state.store, file, results_as_base64=state.settings.results_as_base64
    )
    name = quote(download.filename, safe="")
    headers = {
        "Content-Length": str(download.length),
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
    }
    return StreamingResponse(
        _iterate_in_threads(state, download.chunks),
        media_type="application/octet-stream",
        headers=headers,
    )


async def _iterate_in_threads(state: AppState, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read each chunk in a thread, which is free while the client reads it."""
    while (chunk := await state.transfer_threads.run(next, chunks, None)) is not None:
        yield chunk


async def _receive_file(
    request: Request, state: AppState, project_id: str, room: Room
) -> tuple[File, bytes]:
    """Store an upload; return its row, not yet added, and bytes that identify the request.

    Nothing stays in the store if it raises.
    """
    max_bytes = state.settings.max_file_bytes
    async with intake.receive_file(
        state, project_id, max_bytes=max_bytes, check_room=room.check
    ) as incoming:
        form = FormParser(
            request.headers.get("content-type"),
            file_field="file",
            example="-F purpose=fine-tune -F file=@data.jsonl",
            open_file=partial(_open_sink, incoming),
        )
        filename = sanitize_filename(await read_form(form, request, incoming.consume))
        fields = _parse_fields(form.fields)
        after = fields.expires_after
        file = await intake.build_row(
            incoming,
            filename=filename,
            purpose=FilePurpose(fields.purpose),
            expires_after_seconds=None if after is None else after.seconds,
        )
        # Not the raw body: clients choose a new form boundary for every attempt.
        content_id = f"{file.sha256}\n{file.filename}\n{fields.model_dump_json()}"
        return file, content_id.encode()


def _add_once(
    idempotency: Idempotency, content_id: bytes, file: File, room: Room, session: Session
) -> FileObject | StoredResponse:
    room.release(session)
    if (stored := idempotency.begin(session, content_id)) is not None:
        # A retry is recognized only by its whole content, which has been stored again by now.
        service.discard(session, file)
        return stored
    created = serializers.serialize_file(service.add(session, file))
    idempotency.finish(StoredResponse(200, created.model_dump(mode="json")))
    return created


def _open_sink(incoming: IncomingFile, fields: Mapping[str, str]) -> Sink:
    # The purpose is known by now only if its field precedes the file.
    if fields.get("purpose", FilePurpose.FINE_TUNE) != FilePurpose.FINE_TUNE:
        incoming.skip_validation()
    return incoming.write


def _parse_fields(form: Mapping[str, str]) -> FileFields:
    """Parse the form's fields; `a[b]` is a nested key. Raises RequestValidationError."""
    nested: dict[str, Any] = {}
    for name, value in form.items():
        outer, _, inner = name.removesuffix("]").partition("[")
        if inner:
            nested.setdefault(outer, {})[inner] = value
        else:
            nested[outer] = value
    try:
        return FileFields.model_validate(nested)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
