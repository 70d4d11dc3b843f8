"""/v1/uploads"""

import hashlib
from functools import partial

import anyio
from anyio import from_thread, to_thread
from fastapi import APIRouter, Request
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import File
from app.errors import ApiError, TooLarge
from app.files import serializers as file_shapes
from app.files import uploads
from app.files.upload_assembly import Assembly, Superseded, assemble
from app.files.upload_schemas import CompleteUpload, CreateUpload, UploadObject, UploadPartObject
from app.http.dependencies import Parts, PartsDep, PrincipalDep, SessionDep, ask_database
from app.http.form_reader import fill
from app.http.idempotency import ONCE, RepeatableRoute
from app.http.multipart import BINARY, Form, described
from app.storage import BlobWriter, part_key

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=RepeatableRoute)

# A request that meets another one at the same upload looks again so often.
LOOK_SECONDS = 0.5
PART_FORM = described({"data": BINARY}, required=["data"])


@router.post("", dependencies=[ONCE])
def create(
    asked: CreateUpload, parts: PartsDep, principal: PrincipalDep, session: SessionDep
) -> UploadObject:
    """Begin a file that arrives in parts; it has an hour."""
    limit = parts.settings.max_upload_bytes
    upload = uploads.create(session, principal.project_id, asked, max_bytes=limit)
    return file_shapes.upload(upload, None)


@router.post("/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_part(
    upload_id: str, request: Request, parts: PartsDep, principal: PrincipalDep
) -> UploadPartObject:
    """Add a part of at most 64 MiB. Parts may arrive beside each other and in any order."""
    project_id, part_id = principal.project_id, ids.part_id()
    # Before its bytes are read: whoever has no such upload must not fill the store.
    await ask_database(parts, lambda session: uploads.require_open(session, project_id, upload_id))
    key = part_key(project_id, upload_id, part_id)
    receive = partial(_receive, request, parts, key)
    size, sha256 = await to_thread.run_sync(receive, limiter=parts.uploads)

    def add(session: Session) -> UploadPartObject:
        part = uploads.add_part(
            session, project_id, upload_id, part_id=part_id, size=size, sha256=sha256
        )
        return UploadPartObject.model_validate(part)

    try:
        return await ask_database(parts, add)
    except ApiError:
        # The upload has ended meanwhile, or has no room for it.
        await to_thread.run_sync(parts.store.delete, key)
        raise


@router.post("/{upload_id}/complete")
async def complete(
    upload_id: str, asked: CompleteUpload, parts: PartsDep, principal: PrincipalDep
) -> UploadObject:
    """Make a file of the parts. A repeated request gets the file that the first one made."""

    def begin(session: Session) -> Assembly | UploadObject | None:
        begun = uploads.begin(session, principal.project_id, upload_id, asked)
        if begun is None or isinstance(begun, Assembly):
            return begun
        return file_shapes.upload(begun, uploads.file_of(session, begun))

    while True:
        begun = await ask_database(parts, begin)
        if isinstance(begun, UploadObject):
            return begun
        if begun is None:
            await anyio.sleep(LOOK_SECONDS)
        elif (made := await _make(parts, begun)) is not None:
            return made


@router.post("/{upload_id}/cancel")
def cancel(upload_id: str, principal: PrincipalDep, session: SessionDep) -> UploadObject:
    """Cancel an upload; its parts are removed."""
    upload = uploads.cancel(session, principal.project_id, upload_id)
    return file_shapes.upload(upload, None)


def _receive(request: Request, parts: Parts, key: str) -> tuple[int, str]:
    """Take a part into the store; its size and SHA-256. An exception leaves nothing there."""
    with parts.store.writer(key) as blob:
        taken = _Part(blob)
        form = Form(
            request.headers.get("content-type"),
            file_field="data",
            example="-F data=@part",
            open_file=lambda _fields: taken.write,
        )
        fill(form, request)
        return taken.bytes, taken.sha256.hexdigest()


class _Part:
    """Counts and hashes the bytes on their way."""

    def __init__(self, blob: BlobWriter) -> None:
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self._blob = blob

    def write(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        if self.bytes > uploads.PART_BYTES:
            raise TooLarge(f"A part may have at most {uploads.PART_BYTES} bytes.", param="data")
        self.sha256.update(chunk)
        self._blob.write(chunk)


async def _make(parts: Parts, assembly: Assembly) -> UploadObject | None:
    """Put the file together, outside of any transaction; None if that turned out to be in vain."""
    try:
        file = await to_thread.run_sync(_assemble, parts, assembly, limiter=parts.uploads)
    except Superseded:
        return None
    except Exception:
        await ask_database(parts, lambda session: uploads.release(session, assembly))
        raise

    def finish(session: Session) -> UploadObject | None:
        upload = uploads.finish(session, assembly, file)
        return None if upload is None else file_shapes.upload(upload, file)

    return await ask_database(parts, finish)


def _assemble(parts: Parts, assembly: Assembly) -> File:
    renew = partial(
        from_thread.run, ask_database, parts, lambda session: uploads.renew(session, assembly)
    )
    return assemble(parts.store, assembly, renew=renew)
