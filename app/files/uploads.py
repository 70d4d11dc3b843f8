"""Multi-part uploads: parts may be sent in parallel, in any order, and more than once.

Each part is an object of its own until the upload is completed. Then one pass over them, outside
any transaction, assembles and validates the file (`upload_assembly`). The request that does so
holds a claim with a timeout (a lease), so that concurrent completions make one file, and another
request can take over from one that crashed. The parts are deleted when the upload ends; a periodic
task expires uploads and deletes the parts of those.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app import ids
from app.db import clock, outbox
from app.db.tables import File, FilePurpose, Upload, UploadPart, UploadState
from app.errors import InvalidRequest, NotFound
from app.files import intake
from app.files.schemas import MAX_PARTS, CompleteUpload, CreateUpload
from app.files.upload_assembly import AssemblyPlan, UploadPartRef
from app.storage import upload_part_key, upload_prefix

UPLOAD_LIFETIME = timedelta(hours=1)
MAX_PART_BYTES = 64 * 2**20
# A request that assembles a file extends its claim regularly; without an extension for this long,
# its process has died.
CLAIM_TIMEOUT = timedelta(seconds=60)
CLEANUP_BATCH_SIZE = 500
TERMINAL_STATES = (UploadState.COMPLETED, UploadState.CANCELLED, UploadState.EXPIRED)


def create(session: Session, project_id: str, body: CreateUpload, *, max_bytes: int) -> Upload:
    """Create an upload. Raises InvalidRequest for a file that its completion would reject."""
    if body.bytes > max_bytes:
        raise InvalidRequest(f"A file may have at most {max_bytes} bytes.", param="bytes")
    purpose = FilePurpose(body.purpose)
    intake.check_purpose(purpose, body.filename, body.bytes)
    after = body.expires_after
    upload = Upload(
        id=ids.upload_id(),
        project_id=project_id,
        filename=body.filename,
        purpose=purpose,
        bytes=body.bytes,
        expires_after_seconds=None if after is None else after.seconds,
        state=UploadState.PENDING,
        expires_at=func.clock_timestamp() + UPLOAD_LIFETIME,
    )
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def require_open(session: Session, project_id: str, upload_id: str) -> None:
    """Raise NotFound, or InvalidRequest if the upload does not accept parts any more."""
    _require_open(session, _lock_upload(session, project_id, upload_id))


def add_part(
    session: Session, project_id: str, upload_id: str, *, part_id: str, size: int, sha256: str
) -> UploadPart:
    """Record a part whose content is stored.

    Raises as `require_open`, and InvalidRequest for a part that exceeds the upload's size. The
    upload's row is locked, so that parallel parts cannot exceed it together.
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
    """Cancel an upload; idempotent. Raises NotFound, or InvalidRequest if it ended otherwise."""
    upload = _lock_upload(session, project_id, upload_id)
    if upload.state != UploadState.CANCELLED:
        if upload.state in TERMINAL_STATES:
            raise _build_ended_error(upload)
        upload.state = UploadState.CANCELLED
        _delete_parts(session, upload)
    return upload


def claim_assembly(
    session: Session, project_id: str, upload_id: str, body: CompleteUpload
) -> AssemblyPlan | Upload | None:
    """Claim the assembly of an upload's file.

    Returns the plan to carry out; or the upload, if the same request has completed it before; or
    None while another request holds the claim. Raises NotFound or InvalidRequest.
    """
    upload = _lock_upload(session, project_id, upload_id)
    if upload.state == UploadState.COMPLETED and _is_same_completion(upload, body):
        return upload
    now = clock.now(session)
    if _is_claimed(upload, now):
        return None
    _require_open(session, upload)
    parts = _resolve_parts(session, upload, body.part_ids)
    upload.state = UploadState.COMPLETING
    upload.claim = ids.random_alphanumeric(24)
    upload.claimed_until = now + CLAIM_TIMEOUT
    return _build_plan(upload, parts, body.md5, claim=upload.claim)


def extend_claim(session: Session, plan: AssemblyPlan) -> bool:
    """Extend the claim by another timeout; return false if it is lost."""
    upload = _lock_claimed(session, plan)
    if upload is not None:
        upload.claimed_until = clock.now(session) + CLAIM_TIMEOUT
    return upload is not None


def release_claim(session: Session, plan: AssemblyPlan) -> None:
    """Reopen an upload whose assembly failed, for more parts and another attempt."""
    upload = _lock_claimed(session, plan)
    if upload is not None:
        upload.state = UploadState.PENDING
        upload.claim = upload.claimed_until = None


def complete(session: Session, plan: AssemblyPlan, file: File) -> Upload | None:
    """Add the assembled file and complete the upload. If the claim was lost, return None and
    enqueue the deletion of the file's content."""
    upload = _lock_claimed(session, plan)
    if upload is None:
        outbox.enqueue_blob_deletion(session, file.storage_key)
        return None
    session.add(file)
    session.flush()
    _delete_parts(session, upload)
    upload.state = UploadState.COMPLETED
    upload.claim = upload.claimed_until = None
    upload.part_ids = [part.part_id for part in plan.parts]
    upload.md5 = plan.md5
    upload.file_id = file.id
    return upload


def find_file(session: Session, upload: Upload) -> File | None:
    """Find the file of a completed upload, even if deleted."""
    return None if upload.file_id is None else session.get_one(File, upload.file_id)


def expire(session: Session) -> None:
    """Expire overdue uploads, except those that a live request is completing."""
    is_overdue = (
        Upload.state.in_((UploadState.PENDING, UploadState.COMPLETING)),
        Upload.expires_at < func.clock_timestamp(),
        func.coalesce(Upload.claimed_until, Upload.expires_at) < func.clock_timestamp(),
    )
    session.execute(update(Upload).where(*is_overdue).values(state=UploadState.EXPIRED))


def _delete_parts(session: Session, upload: Upload) -> None:
    """Delete all parts of an upload: the rows now, their content through the outbox."""
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload.id))
    outbox.enqueue_prefix_deletion(session, upload_prefix(upload.project_id, upload.id))


def remove_parts(session: Session) -> None:
    """Delete a batch of parts of expired uploads: the rows now, their content through the outbox.

    Also those of uploads that a process of the previous version completed or cancelled.
    """
    statement = (
        select(UploadPart)
        .join(Upload, Upload.id == UploadPart.upload_id)
        .where(Upload.state.in_(TERMINAL_STATES))
        .limit(CLEANUP_BATCH_SIZE)
        .with_for_update(of=UploadPart, skip_locked=True)
    )
    parts = session.scalars(statement).all()
    for part in parts:
        outbox.enqueue_blob_deletion(session, part.storage_key)
    session.execute(delete(UploadPart).where(UploadPart.id.in_([part.id for part in parts])))


def _lock_upload(session: Session, project_id: str, upload_id: str) -> Upload:
    upload = session.scalars(
        select(Upload)
        .where(Upload.id == upload_id, Upload.project_id == project_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if upload is None:
        raise NotFound(f"No such Upload object: {upload_id}", param="id")
    return upload


def _lock_claimed(session: Session, plan: AssemblyPlan) -> Upload | None:
    return session.scalars(
        select(Upload)
        .where(
            Upload.id == plan.upload_id,
            Upload.state == UploadState.COMPLETING,
            Upload.claim == plan.claim,
        )
        .with_for_update()
    ).one_or_none()


def _is_claimed(upload: Upload, now: datetime) -> bool:
    """True if a live request is completing the upload."""
    until = upload.claimed_until
    return upload.state == UploadState.COMPLETING and until is not None and until > now


def _require_open(session: Session, upload: Upload) -> None:
    if upload.state in TERMINAL_STATES:
        raise _build_ended_error(upload)
    now = clock.now(session)
    if _is_claimed(upload, now):
        raise InvalidRequest(f"Upload '{upload.id}' is being completed.", param="id")
    if upload.expires_at <= now:
        raise InvalidRequest(f"Upload '{upload.id}' has expired. Begin a new one.", param="id")


def _build_ended_error(upload: Upload) -> InvalidRequest:
    is_expired = upload.state == UploadState.EXPIRED
    problem = "has expired" if is_expired else f"is already {upload.state}"
    return InvalidRequest(f"Upload '{upload.id}' {problem}. Begin a new one.", param="id")


def _check_capacity(session: Session, upload: Upload, size: int, sha256: str) -> None:
    if size == 0:
        raise InvalidRequest("The part is empty. Send its bytes in 'data'.", param="data")
    if upload.part_count >= MAX_PARTS:
        raise InvalidRequest(f"An upload may have at most {MAX_PARTS} parts.", param="data")
    # A client that lost a response sends the part again, and never refers to the first copy.
    is_again = session.scalar(
        select(UploadPart.id)
        .where(UploadPart.upload_id == upload.id, UploadPart.sha256 == sha256)
        .limit(1)
    )
    if is_again is None and upload.unique_part_bytes + size > upload.bytes:
        raise InvalidRequest(
            f"With this part, the parts have more than the {upload.bytes} bytes that upload "
            f"'{upload.id}' was created for. Begin a new one, with the file's size as 'bytes'.",
            param="data",
        )
    if upload.part_bytes + size > 2 * upload.bytes + MAX_PART_BYTES:
        raise InvalidRequest(
            f"Parts of upload '{upload.id}' were sent again too often. Begin a new one.",
            param="data",
        )


def _is_same_completion(upload: Upload, body: CompleteUpload) -> bool:
    return upload.part_ids == body.part_ids and body.md5 in (None, upload.md5)


def _resolve_parts(
    session: Session, upload: Upload, part_ids: Sequence[str]
) -> tuple[UploadPartRef, ...]:
    """Get the parts in this order. Raises InvalidRequest unless they make up the whole file."""
    rows = session.scalars(select(UploadPart).where(UploadPart.upload_id == upload.id))
    parts_by_id = {row.id: row for row in rows}
    for part_id in part_ids:
        if part_id not in parts_by_id:
            raise InvalidRequest(f"Upload '{upload.id}' has no part '{part_id}'.", param="part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise InvalidRequest("Name each part once in part_ids.", param="part_ids")
    parts = [parts_by_id[part_id] for part_id in part_ids]
    size = sum(part.bytes for part in parts)
    if size != upload.bytes:
        raise InvalidRequest(
            f"The parts have {size} bytes together, but the upload was created for "
            f"{upload.bytes} bytes.",
            param="part_ids",
        )
    return tuple(UploadPartRef(part.id, part.storage_key) for part in parts)


def _build_plan(
    upload: Upload, parts: tuple[UploadPartRef, ...], md5: str | None, *, claim: str
) -> AssemblyPlan:
    return AssemblyPlan(
        upload_id=upload.id,
        project_id=upload.project_id,
        claim=claim,
        filename=upload.filename,
        purpose=upload.purpose,
        expires_after_seconds=upload.expires_after_seconds,
        bytes=upload.bytes,
        md5=md5,
        parts=parts,
    )
