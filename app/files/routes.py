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
from app.files.intake import Intake
from app.files.schemas import (
    FileDeleted,
    FileFields,
    FileList,
    FileObject,
    FileVerdict,
    Purpose,
    base_name,
)
from app.http import stored_responses
from app.http.dependencies import (
    After,
    Parts,
    PartsDep,
    PrincipalDep,
    ReadingDep,
    SessionDep,
    ask_database,
)
from app.http.form_reader import fill
from app.http.idempotency import Repetition, RepetitionDep
from app.http.multipart import BINARY, Form, Sink, described
from app.http.openapi import BYTES, answers
from app.http.stored_responses import Answer, Try
from app.http.strict_json import StrictRoute
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=StrictRoute)

UPLOAD_FORM = described(
    {
        "file": BINARY,
        "purpose": {"type": "string", "enum": list(get_args(Purpose))},
        "expires_after[anchor]": {"type": "string", "const": "created_at"},
        "expires_after[seconds]": {"type": "integer"},
    },
    required=["file", "purpose"],
)


@router.post("", openapi_extra=UPLOAD_FORM)
async def create(
    request: Request, parts: PartsDep, principal: PrincipalDep, repetition: RepetitionDep
) -> FileObject:
    """Upload a file. A training file is judged line by line while it arrives."""
    # In one thread of its own kind: storing, hashing and judging block. And with a session and a
    # turn for it at the end only, or slow clients would hold the database's connections.
    receive = partial(_receive, request, parts, principal.project_id, repetition)
    file, this = await to_thread.run_sync(receive, limiter=parts.uploads)
    return await ask_database(parts, partial(_add, file, this))


@router.get("")
def list_files(
    principal: PrincipalDep,
    session: ReadingDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=0, le=10000)] = 10000,
    order: Literal["asc", "desc"] = "desc",
    after: After = None,
) -> FileList:
    page = files.list_(
        session, principal.project_id, purpose=purpose, order=order, after=after, limit=limit
    )
    data = [FileObject.model_validate(row) for row in page.rows]
    return FileList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get("/{file_id}")
def retrieve(file_id: str, principal: PrincipalDep, session: ReadingDep) -> FileObject:
    return FileObject.model_validate(files.retrieve(session, principal.project_id, file_id))


@router.get("/{file_id}/verdict")
def verdict(file_id: str, principal: PrincipalDep, session: ReadingDep) -> FileVerdict:
    """What the judge found: the first 100 faults with line, byte offset and reason. An extension:
    OpenAI shows the first one, in `status_details`."""
    return file_shapes.verdict(files.retrieve(session, principal.project_id, file_id))


@router.delete("/{file_id}")
def delete(file_id: str, principal: PrincipalDep, session: SessionDep) -> FileDeleted:
    files.delete(session, principal.project_id, file_id)
    return FileDeleted(id=file_id, deleted=True)


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses=answers("application/octet-stream", BYTES),
)
def content(
    file_id: str, parts: PartsDep, principal: PrincipalDep, session: ReadingDep
) -> StreamingResponse:
    """The bytes of a file; of a result file, base64 text of them, as OpenAI sends it."""
    file = files.retrieve(session, principal.project_id, file_id)
    found = files.content(parts.store, file, results_as_base64=parts.settings.results_as_base64)
    name = quote(found.filename, safe="")
    headers = {
        "Content-Length": str(found.length),
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
    }
    return StreamingResponse(found.chunks, media_type="application/octet-stream", headers=headers)


def _receive(
    request: Request, parts: Parts, project_id: str, repetition: Repetition
) -> tuple[File, Try]:
    """Take an upload into the store; what it is. An exception leaves nothing there."""
    limit = parts.settings.max_file_bytes
    with intake.intake(parts.store, project_id, max_bytes=limit) as taken:
        form = Form(
            request.headers.get("content-type"),
            file_field="file",
            example="-F purpose=fine-tune -F file=@data.jsonl",
            open_file=partial(_open_file, taken),
        )
        filename = base_name(fill(form, request))
        fields = _fields(form.fields)
        file = intake.describe(taken, fields, filename=filename)
        # Not the body's own bytes: clients draw a new form boundary for every try.
        asked = f"{file.sha256}\n{file.filename}\n{fields.model_dump_json()}"
        return file, repetition.of(asked.encode())


def _add(file: File, this: Try, session: Session) -> FileObject:
    if (earlier := stored_responses.answered(session, this)) is not None:
        # Only its last byte showed that it is the same file: it is stored a second time.
        outbox.delete_blob(session, file.storage_key)
        return FileObject.model_validate(earlier.body)
    session.add(file)
    session.flush()
    shown = FileObject.model_validate(file)
    stored_responses.remember(session, this, Answer(200, shown.model_dump(mode="json")))
    return shown


def _open_file(taken: Intake, fields: Mapping[str, str]) -> Sink:
    if fields.get("purpose", intake.TRAINING) != intake.TRAINING:
        taken.do_not_judge()
    return taken.write


def _fields(form: Mapping[str, str]) -> FileFields:
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
