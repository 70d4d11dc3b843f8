"""Routes of /v1/uploads."""

import hashlib
from functools import partial

import anyio
from fastapi import APIRouter, Request
from sqlalchemy.orm import Session

from app import ids
from app.errors import ApiError, InsufficientStorage, PayloadTooLarge
from app.files import quota, serializers, uploads
from app.files.intake import CheckRoom, open_writer
from app.files.room import Room, check_disk, reserve_room
from app.files.schemas import CompleteUpload, CreateUpload, UploadObject, UploadPartObject
from app.files.upload_assembly import AssemblyPlan, ClaimLost, assemble
from app.http.dependencies import (
    AppState,
    AppStateDep,
    PrincipalDep,
    SessionDep,
    run_in_transaction,
)
from app.http.idempotency import IDEMPOTENT, IdempotentRoute
from app.http.multipart import FormParser, openapi_form, read_form
from app.http.openapi import BINARY_SCHEMA, error_responses
from app.storage import ObjectWriter, upload_part_key

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=IdempotentRoute)

# Of a request that waits for another one to complete the same upload.
COMPLETION_POLL_INTERVAL_SECONDS = 0.5
PART_FORM = openapi_form({"data": BINARY_SCHEMA}, required=["data"])


@router.post("", dependencies=[IDEMPOTENT], responses=error_responses(InsufficientStorage))
def create(
    body: CreateUpload, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> UploadObject:
    """Create a multi-part upload. It expires after an hour."""
    max_bytes = state.settings.max_upload_bytes
    quota.check_open_uploads(session, principal.project_id, state.settings)
    quota.check_declared(session, principal.project_id, state.settings, size=body.bytes)
    upload = uploads.create(session, principal.project_id, body, max_bytes=max_bytes)
    # Last: a size that is never accepted is a mistake of the request, which no retry can mend.
    check_disk(state.settings, state.store, body.bytes)
    return serializers.serialize_upload(upload, None)


@router.post("/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_part(
    upload_id: str, request: Request, state: AppStateDep, principal: PrincipalDep
) -> UploadPartObject:
    """Add a part of at most 64 MiB. Parts may be sent in parallel and in any order."""
    project_id, part_id = principal.project_id, ids.part_id()
    # Before the body is read: a request without a valid upload must not fill the store.
    await run_in_transaction(
        state, lambda session: uploads.require_open(session, project_id, upload_id)
    )
    key = upload_part_key(project_id, upload_id, part_id)
    length, max_bytes = request.headers.get("content-length"), uploads.MAX_PART_BYTES
    async with (
        state.upload_slots.slot(),
        reserve_room(state, project_id, length, max_bytes=max_bytes, files=0) as room,
    ):
        size, sha256 = await _receive_part(request, state, key, room)

        def add(session: Session) -> UploadPartObject:
            room.release(session)
            part = uploads.add_part(
                session, project_id, upload_id, part_id=part_id, size=size, sha256=sha256
            )
            return UploadPartObject.model_validate(part)

        try:
            return await run_in_transaction(state, add)
        except ApiError:
            # Meanwhile the upload has ended, or the part exceeds the upload's size.
            await state.transfer_threads.run(state.store.delete, key)
            raise


@router.post("/{upload_id}/complete")
async def complete(
    upload_id: str, body: CompleteUpload, state: AppStateDep, principal: PrincipalDep
) -> UploadObject:
    """Assemble the parts into a file. A repeated request gets the file of the first."""

    def claim(session: Session) -> AssemblyPlan | UploadObject | None:
        claimed = uploads.claim_assembly(session, principal.project_id, upload_id, body)
        if claimed is None or isinstance(claimed, AssemblyPlan):
            return claimed
        return serializers.serialize_upload(claimed, uploads.find_file(session, claimed))

    while True:
        claimed = await run_in_transaction(state, claim)
        if isinstance(claimed, UploadObject):
            return claimed
        if claimed is None:
            await anyio.sleep(COMPLETION_POLL_INTERVAL_SECONDS)
        elif (completed := await _assemble_and_complete(state, claimed)) is not None:
            return completed


@router.post("/{upload_id}/cancel")
def cancel(upload_id: str, principal: PrincipalDep, session: SessionDep) -> UploadObject:
    """Cancel an upload; its parts are deleted."""
    upload = uploads.cancel(session, principal.project_id, upload_id)
    return serializers.serialize_upload(upload, None)


async def _receive_part(request: Request, state: AppState, key: str, room: Room) -> tuple[int, str]:
    """Store a part; return its size and SHA-256. Nothing stays in the store if it raises."""
    async with open_writer(state, key) as blob:
        part = _PartWriter(blob, room.check)
        form = FormParser(
            request.headers.get("content-type"),
            file_field="data",
            example="-F data=@part",
            open_file=lambda _fields: part.write,
        )
        await read_form(form, request, state.transfer_threads.run)
        return part.bytes, part.sha256.hexdigest()


class _PartWriter:
    """Counts and hashes a part as it is written."""

    def __init__(self, blob: ObjectWriter, check_room: CheckRoom) -> None:
        self.bytes = 0
        self._check_room = check_room
        self.sha256 = hashlib.sha256()
        self._blob = blob

    def write(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        if self.bytes > uploads.MAX_PART_BYTES:
            raise PayloadTooLarge(
                f"A part may have at most {uploads.MAX_PART_BYTES} bytes.", param="data"
            )
        self._check_room(self.bytes)
        self.sha256.update(chunk)
        self._blob.write(chunk)


async def _assemble_and_complete(state: AppState, plan: AssemblyPlan) -> UploadObject | None:
    """Assemble the file outside any transaction; return None if the claim was lost meanwhile."""
    extend = partial(uploads.extend_claim, plan=plan)
    try:
        async with state.upload_slots.slot():
            await state.transfer_threads.run(check_disk, state.settings, state.store, plan.bytes)
            file = await assemble(
                state, plan, extend_claim=partial(run_in_transaction, state, extend)
            )
    except ClaimLost:
        return None
    except Exception:
        await run_in_transaction(state, lambda session: uploads.release_claim(session, plan))
        raise

    def complete(session: Session) -> UploadObject | None:
        upload = uploads.complete(session, plan, file)
        return None if upload is None else serializers.serialize_upload(upload, file)

    return await run_in_transaction(state, complete)
