"""/v1/uploads"""

import hashlib
from functools import partial

import anyio
from anyio import from_thread, to_thread
from fastapi import APIRouter, Request
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import File
from app.errors import ApiError, PayloadTooLarge
from app.files import serializers as file_shapes
from app.files import uploads
from app.files.upload_assembly import AssemblyPlan, ClaimLost, assemble
from app.files.upload_schemas import CompleteUpload, CreateUpload, UploadObject, UploadPartObject
from app.http.dependencies import (
    AppState,
    AppStateDep,
    PrincipalDep,
    SessionDep,
    run_in_transaction,
)
from app.http.form_reader import read_form
from app.http.idempotency import IDEMPOTENT, IdempotentRoute
from app.http.multipart import FormParser, openapi_form
from app.http.openapi import BINARY_SCHEMA
from app.storage import ObjectWriter, upload_part_key

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=IdempotentRoute)

# A request that meets another one at the same upload looks again so often.
COMPLETION_POLL_INTERVAL_SECONDS = 0.5
PART_FORM = openapi_form({"data": BINARY_SCHEMA}, required=["data"])


@router.post("", dependencies=[IDEMPOTENT])
def create(
    asked: CreateUpload, parts: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> UploadObject:
    """Begin a file that arrives in parts; it has an hour."""
    limit = parts.settings.max_upload_bytes
    upload = uploads.create(session, principal.project_id, asked, max_bytes=limit)
    return file_shapes.serialize_upload(upload, None)


@router.post("/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_part(
    upload_id: str, request: Request, parts: AppStateDep, principal: PrincipalDep
) -> UploadPartObject:
    """Add a part of at most 64 MiB. Parts may arrive beside each other and in any order."""
    project_id, part_id = principal.project_id, ids.part_id()
    # Before its bytes are read: whoever has no such upload must not fill the store.
    await run_in_transaction(
        parts, lambda session: uploads.require_open(session, project_id, upload_id)
    )
    key = upload_part_key(project_id, upload_id, part_id)
    receive = partial(_receive_part, request, parts, key)
    size, sha256 = await to_thread.run_sync(receive, limiter=parts.upload_slots)

    def add(session: Session) -> UploadPartObject:
        part = uploads.add_part(
            session, project_id, upload_id, part_id=part_id, size=size, sha256=sha256
        )
        return UploadPartObject.model_validate(part)

    try:
        return await run_in_transaction(parts, add)
    except ApiError:
        # The upload has ended meanwhile, or has no room for it.
        await to_thread.run_sync(parts.store.delete, key)
        raise


@router.post("/{upload_id}/complete")
async def complete(
    upload_id: str, asked: CompleteUpload, parts: AppStateDep, principal: PrincipalDep
) -> UploadObject:
    """Make a file of the parts. A repeated request gets the file that the first one made."""

    def begin(session: Session) -> AssemblyPlan | UploadObject | None:
        begun = uploads.claim_assembly(session, principal.project_id, upload_id, asked)
        if begun is None or isinstance(begun, AssemblyPlan):
            return begun
        return file_shapes.serialize_upload(begun, uploads.find_file(session, begun))

    while True:
        begun = await run_in_transaction(parts, begin)
        if isinstance(begun, UploadObject):
            return begun
        if begun is None:
            await anyio.sleep(COMPLETION_POLL_INTERVAL_SECONDS)
        elif (made := await _assemble_and_complete(parts, begun)) is not None:
            return made


@router.post("/{upload_id}/cancel")
def cancel(upload_id: str, principal: PrincipalDep, session: SessionDep) -> UploadObject:
    """Cancel an upload; its parts are removed."""
    upload = uploads.cancel(session, principal.project_id, upload_id)
    return file_shapes.serialize_upload(upload, None)


def _receive_part(request: Request, parts: AppState, key: str) -> tuple[int, str]:
    """Take a part into the store; its size and SHA-256. An exception leaves nothing there."""
    with parts.store.writer(key) as blob:
        taken = _PartWriter(blob)
        form = FormParser(
            request.headers.get("content-type"),
            file_field="data",
            example="-F data=@part",
            open_file=lambda _fields: taken.write,
        )
        read_form(form, request)
        return taken.bytes, taken.sha256.hexdigest()


class _PartWriter:
    """Counts and hashes the bytes on their way."""

    def __init__(self, blob: ObjectWriter) -> None:
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self._blob = blob

    def write(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        if self.bytes > uploads.MAX_PART_BYTES:
            raise PayloadTooLarge(
                f"A part may have at most {uploads.MAX_PART_BYTES} bytes.", param="data"
            )
        self.sha256.update(chunk)
        self._blob.write(chunk)


async def _assemble_and_complete(parts: AppState, assembly: AssemblyPlan) -> UploadObject | None:
    """Put the file together, outside of any transaction; None if that turned out to be in vain."""
    try:
        file = await to_thread.run_sync(_assemble_file, parts, assembly, limiter=parts.upload_slots)
    except ClaimLost:
        return None
    except Exception:
        await run_in_transaction(parts, lambda session: uploads.release_claim(session, assembly))
        raise

    def finish(session: Session) -> UploadObject | None:
        upload = uploads.complete(session, assembly, file)
        return None if upload is None else file_shapes.serialize_upload(upload, file)

    return await run_in_transaction(parts, finish)


def _assemble_file(parts: AppState, assembly: AssemblyPlan) -> File:
    renew = partial(
        from_thread.run,
        run_in_transaction,
        parts,
        lambda session: uploads.extend_claim(session, assembly),
    )
    return assemble(parts.store, assembly, extend_claim=renew)
