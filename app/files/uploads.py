"""Uploads: a file in parts that may arrive beside each other, in any order and more than once.

Parts are objects of their own until the upload is completed; then one pass over them, without a
transaction, makes the file and judges it (`assembly`). The parts go when the upload has ended.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app import ids
from app.db import clock, outbox
from app.db.tables import File, Upload, UploadPart
from app.errors import InvalidRequest, NotFound
from app.files import intake
from app.files.schemas import ExpiresAfter, FileFields
from app.files.upload_assembly import AssemblyPlan, UploadPartRef
from app.files.upload_schemas import MAX_PARTS, CompleteUpload, CreateUpload
from app.storage import upload_part_key

UPLOAD_LIFETIME = timedelta(hours=1)
MAX_PART_BYTES = 64 * 2**20
# A request that puts a file together says so often that it lives; silent for so long, it has died.
CLAIM_TIMEOUT = timedelta(seconds=60)
CLEANUP_BATCH_SIZE = 500
TERMINAL_STATES = ("completed", "cancelled", "expired")


def create(session: Session, project_id: str, asked: CreateUpload, *, max_bytes: int) -> Upload:
    """A new upload. Raises InvalidRequest for a file that could not be taken in."""
    if asked.bytes > max_bytes:
        raise InvalidRequest(f"A file may have at most {max_bytes} bytes.", param="bytes")
    intake.check_purpose(asked.purpose, asked.filename, asked.bytes)
    after = asked.expires_after
    upload = Upload(
        id=ids.upload_id(),
        project_id=project_id,
        filename=asked.filename,
        purpose=asked.purpose,
        bytes=asked.bytes,
        expires_after_seconds=None if after is None else after.seconds,
        state="pending",
        expires_at=func.clock_timestamp() + UPLOAD_LIFETIME,
    )
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def require_open(session: Session, project_id: str, upload_id: str) -> None:
    """Raises NotFound, or InvalidRequest if the upload takes no parts any more."""
    _require_open(session, _lock_upload(session, project_id, upload_id))


def add_part(
    session: Session, project_id: str, upload_id: str, *, part_id: str, size: int, sha256: str
) -> UploadPart:
    """Note a part whose bytes are stored.

    Raises what `require_open` does, and InvalidRequest for one that the upload has no room for;
    its row is locked, so that parts beside each other cannot each take the same room.
    """
    upload = _lock_upload(session, project_id, upload_id)
    _require_open(session, upload)
    _check_capacity(session, upload, size, sha256)
    key = upload_part_key(project_id, upload_id, part_id)
    part = UploadPart(id=part_id, upload_id=upload_id, bytes=size, sha256=sha256, storage_key=key)
    session.add(part)
    session.flush()
    return part


def cancel(session: Session, project_id: str, upload_id: str) -> Upload:
    """Cancel an upload that was not completed; again does no harm. Raises InvalidRequest."""
    upload = _lock_upload(session, project_id, upload_id)
    if upload.state != "cancelled":
        if upload.state in TERMINAL_STATES:
            raise _ended_error(upload)
        upload.state = "cancelled"
    return upload


def claim_assembly(
    session: Session, project_id: str, upload_id: str, asked: CompleteUpload
) -> AssemblyPlan | Upload | None:
    """What is to be put together now; or the upload that this has completed before; or None while
    another request is at it. Raises NotFound, InvalidRequest.
    """
    upload = _lock_upload(session, project_id, upload_id)
    if upload.state == "completed" and _is_same_completion(upload, asked):
        return upload
    now = clock.now(session)
    if _is_claimed(upload, now):
        return None
    _require_open(session, upload)
    sources = _resolve_parts(session, upload, asked.part_ids)
    upload.state = "completing"
    upload.claim = ids.random_alphanumeric(24)
    upload.claimed_until = now + CLAIM_TIMEOUT
    return _build_plan(upload, sources, asked, claim=upload.claim)


def extend_claim(session: Session, assembly: AssemblyPlan) -> bool:
    """Whether the file is still to be put together by who asks; then it is for a while more."""
    upload = _lock_claimed(session, assembly)
    if upload is not None:
        upload.claimed_until = clock.now(session) + CLAIM_TIMEOUT
    return upload is not None


def release_claim(session: Session, assembly: AssemblyPlan) -> None:
    """It could not be put together: parts may come again, and another attempt."""
    upload = _lock_claimed(session, assembly)
    if upload is not None:
        upload.state = "pending"
        upload.claim = upload.claimed_until = None


def complete(session: Session, assembly: AssemblyPlan, file: File) -> Upload | None:
    """The file is there; or, if it was put together in vain, its bytes go again."""
    upload = _lock_claimed(session, assembly)
    if upload is None:
        outbox.enqueue_blob_deletion(session, file.storage_key)
        return None
    session.add(file)
    session.flush()
    upload.state = "completed"
    upload.claim = upload.claimed_until = None
    upload.part_ids = [source.part_id for source in assembly.parts]
    upload.md5 = assembly.md5
    upload.file_id = file.id
    return upload


def find_file(session: Session, upload: Upload) -> File | None:
    """The file of a completed upload, a deleted one too."""
    return None if upload.file_id is None else session.get_one(File, upload.file_id)


def expire(session: Session) -> None:
    """End the uploads whose hour has passed, unless a request is just completing them."""
    over = (
        Upload.state.in_(("pending", "completing")),
        Upload.expires_at < func.clock_timestamp(),
        func.coalesce(Upload.claimed_until, Upload.expires_at) < func.clock_timestamp(),
    )
    session.execute(update(Upload).where(*over).values(state="expired"))


def remove_parts(session: Session) -> None:
    """Remove parts of uploads that have ended: the rows now, the bytes a moment later."""
    left = (
        select(UploadPart)
        .join(Upload, Upload.id == UploadPart.upload_id)
        .where(Upload.state.in_(TERMINAL_STATES))
        .limit(CLEANUP_BATCH_SIZE)
        .with_for_update(of=UploadPart, skip_locked=True)
    )
    parts = session.scalars(left).all()
    for part in parts:
        outbox.enqueue_blob_deletion(session, part.storage_key)
    session.execute(delete(UploadPart).where(UploadPart.id.in_([part.id for part in parts])))


def _lock_upload(session: Session, project_id: str, upload_id: str) -> Upload:
    found = session.scalars(
        select(Upload)
        .where(Upload.id == upload_id, Upload.project_id == project_id)
        .with_for_update()
    ).one_or_none()
    if found is None:
        raise NotFound(f"No such Upload object: {upload_id}", param="id")
    return found


def _lock_claimed(session: Session, assembly: AssemblyPlan) -> Upload | None:
    return session.scalars(
        select(Upload)
        .where(
            Upload.id == assembly.upload_id,
            Upload.state == "completing",
            Upload.claim == assembly.claim,
        )
        .with_for_update()
    ).one_or_none()


def _is_claimed(upload: Upload, now: datetime) -> bool:
    """Whether a request that lives is just completing it."""
    until = upload.claimed_until
    return upload.state == "completing" and until is not None and until > now


def _require_open(session: Session, upload: Upload) -> None:
    if upload.state in TERMINAL_STATES:
        raise _ended_error(upload)
    now = clock.now(session)
    if _is_claimed(upload, now):
        raise InvalidRequest(f"Upload '{upload.id}' is being completed.", param="id")
    if upload.expires_at <= now:
        raise InvalidRequest(f"Upload '{upload.id}' has expired. Begin a new one.", param="id")


def _ended_error(upload: Upload) -> InvalidRequest:
    was = "has expired" if upload.state == "expired" else f"is already {upload.state}"
    return InvalidRequest(f"Upload '{upload.id}' {was}. Begin a new one.", param="id")


def _check_capacity(session: Session, upload: Upload, size: int, sha256: str) -> None:
    if size == 0:
        raise InvalidRequest("The part is empty. Send its bytes in 'data'.", param="data")
    mine = UploadPart.upload_id == upload.id
    held = select(func.count(), func.coalesce(func.sum(UploadPart.bytes), 0)).where(mine)
    count, total = session.execute(held).one()
    if count >= MAX_PARTS:
        raise InvalidRequest(f"An upload may have at most {MAX_PARTS} parts.", param="data")
    if _unique_part_bytes(session, upload, excluding=sha256) + size > upload.bytes:
        raise InvalidRequest(
            f"With this part, the parts have more than the {upload.bytes} bytes that upload "
            f"'{upload.id}' was created for. Begin a new one, with the file's size as 'bytes'.",
            param="data",
        )
    if total + size > 2 * upload.bytes + MAX_PART_BYTES:
        raise InvalidRequest(
            f"Parts of upload '{upload.id}' were sent again too often. Begin a new one.",
            param="data",
        )


def _unique_part_bytes(session: Session, upload: Upload, *, excluding: str) -> int:
    """Of parts with other content than `but`, each content once: a part whose answer was lost is
    sent again, and its first copy is never named."""
    content = func.coalesce(UploadPart.sha256, UploadPart.id)
    each = (
        select(func.max(UploadPart.bytes).label("bytes"))
        .where(UploadPart.upload_id == upload.id, content != excluding)
        .group_by(content)
        .subquery()
    )
    total: int = session.scalars(select(func.coalesce(func.sum(each.c.bytes), 0))).one()
    return total


def _is_same_completion(upload: Upload, asked: CompleteUpload) -> bool:
    return upload.part_ids == asked.part_ids and asked.md5 in (None, upload.md5)


def _resolve_parts(
    session: Session, upload: Upload, part_ids: Sequence[str]
) -> tuple[UploadPartRef, ...]:
    """The parts in the order asked for. Raises InvalidRequest unless they can be the file."""
    rows = session.scalars(select(UploadPart).where(UploadPart.upload_id == upload.id))
    held = {row.id: row for row in rows}
    for part_id in part_ids:
        if part_id not in held:
            raise InvalidRequest(f"Upload '{upload.id}' has no part '{part_id}'.", param="part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise InvalidRequest("Name each part once in part_ids.", param="part_ids")
    parts = [held[part_id] for part_id in part_ids]
    size = sum(part.bytes for part in parts)
    if size != upload.bytes:
        raise InvalidRequest(
            f"The parts have {size} bytes together, but the upload was created for "
            f"{upload.bytes} bytes.",
            param="part_ids",
        )
    return tuple(UploadPartRef(part.id, part.storage_key) for part in parts)


def _build_plan(
    upload: Upload, sources: tuple[UploadPartRef, ...], asked: CompleteUpload, *, claim: str
) -> AssemblyPlan:
    seconds = upload.expires_after_seconds
    after = None if seconds is None else ExpiresAfter(anchor="created_at", seconds=seconds)
    return AssemblyPlan(
        upload_id=upload.id,
        project_id=upload.project_id,
        claim=claim,
        filename=upload.filename,
        fields=FileFields(purpose=upload.purpose, expires_after=after),
        bytes=upload.bytes,
        md5=asked.md5,
        parts=sources,
    )
