"""/v1/files"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.db import outbox
from app.db.tables import File
from app.files import intake
from app.files import serializers as file_shapes
from app.files import service as files
from app.files.intake import IncomingFile
from app.files.schemas import (
    FileDeleted,
    FileFields,
    FileList,
    FileObject,
    FileValidation,
    UploadPurpose,
    sanitize_filename,
)
from app.http import stored_responses
from app.http.dependencies import (
    AfterCursor,
    AppState,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    SessionDep,
    run_in_transaction,
)
from app.http.form_reader import read_form
from app.http.idempotency import IdempotencyContext, IdempotencyDep
from app.http.multipart import FormParser, Sink, openapi_form
from app.http.openapi import BINARY_SCHEMA, success_response
from app.http.stored_responses import RequestAttempt, StoredResponse
from app.http.strict_json import StrictRoute
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=StrictRoute)

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
    request: Request, parts: AppStateDep, principal: PrincipalDep, repetition: IdempotencyDep
) -> FileObject:
    """Upload a file. A training file is judged line by line while it arrives."""
    # In one thread of its own kind: storing, hashing and judging block. And with a session and a
    # turn for it at the end only, or slow clients would hold the database's connections.
    receive = partial(_receive_file, request, parts, principal.project_id, repetition)
    file, this = await to_thread.run_sync(receive, limiter=parts.upload_slots)
    return await run_in_transaction(parts, partial(_insert_row, file, this))


@router.get("")
def list_files(
    principal: PrincipalDep,
    session: ReadSessionDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=0, le=10000)] = 10000,
    order: Literal["asc", "desc"] = "desc",
    after: AfterCursor = None,
) -> FileList:
    page = files.list_files(
        session, principal.project_id, purpose=purpose, order=order, after=after, limit=limit
    )
    data = [FileObject.model_validate(row) for row in page.rows]
    return FileList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get("/{file_id}")
def retrieve(file_id: str, principal: PrincipalDep, session: ReadSessionDep) -> FileObject:
    return FileObject.model_validate(files.get(session, principal.project_id, file_id))


@router.get("/{file_id}/verdict")
def get_validation(
    file_id: str, principal: PrincipalDep, session: ReadSessionDep
) -> FileValidation:
    """What the judge found: the first 100 faults with line, byte offset and reason. An extension:
    OpenAI shows the first one, in `status_details`."""
    return file_shapes.serialize_validation(files.get(session, principal.project_id, file_id))


@router.delete("/{file_id}")
def delete(file_id: str, principal: PrincipalDep, session: SessionDep) -> FileDeleted:
    files.delete(session, principal.project_id, file_id)
    return FileDeleted(id=file_id, deleted=True)


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses=success_response("application/octet-stream", BINARY_SCHEMA),
)
def content(
    file_id: str, parts: AppStateDep, principal: PrincipalDep, session: ReadSessionDep
) -> StreamingResponse:
    """The bytes of a file; of a result file, base64 text of them, as OpenAI sends it."""
    file = files.get(session, principal.project_id, file_id)
    found = files.download(parts.store, file, results_as_base64=parts.settings.results_as_base64)
    name = quote(found.filename, safe="")
    headers = {
        "Content-Length": str(found.length),
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
    }
    return StreamingResponse(found.chunks, media_type="application/octet-stream", headers=headers)


def _receive_file(
    request: Request, parts: AppState, project_id: str, repetition: IdempotencyContext
) -> tuple[File, RequestAttempt]:
    """Take an upload into the store; what it is. An exception leaves nothing there."""
    limit = parts.settings.max_file_bytes
    with intake.receive_file(parts.store, project_id, max_bytes=limit) as taken:
        form = FormParser(
            request.headers.get("content-type"),
            file_field="file",
            example="-F purpose=fine-tune -F file=@data.jsonl",
            open_file=partial(_open_sink, taken),
        )
        filename = sanitize_filename(read_form(form, request))
        fields = _parse_fields(form.fields)
        file = intake.build_row(taken, fields, filename=filename)
        # Not the body's own bytes: clients draw a new form boundary for every try.
        asked = f"{file.sha256}\n{file.filename}\n{fields.model_dump_json()}"
        return file, repetition.new_attempt(asked.encode())


def _insert_row(file: File, this: RequestAttempt, session: Session) -> FileObject:
    if (earlier := stored_responses.find_stored_response(session, this)) is not None:
        # Only its last byte showed that it is the same file: it is stored a second time.
        outbox.enqueue_blob_deletion(session, file.storage_key)
        return FileObject.model_validate(earlier.body)
    session.add(file)
    session.flush()
    shown = FileObject.model_validate(file)
    stored_responses.store_response(
        session, this, StoredResponse(200, shown.model_dump(mode="json"))
    )
    return shown


def _open_sink(taken: IncomingFile, fields: Mapping[str, str]) -> Sink:
    if fields.get("purpose", intake.TRAINING) != intake.TRAINING:
        taken.skip_validation()
    return taken.write


def _parse_fields(form: Mapping[str, str]) -> FileFields:
    """The fields, of which some are written as `expires_after[seconds]`. Raises like FastAPI."""
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
