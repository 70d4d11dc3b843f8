"""Rows of files and uploads as wire objects."""

from app.db.tables import File, Upload
from app.files.schemas import FileObject, FileValidation
from app.files.upload_schemas import UploadObject


def serialize_validation(row: File) -> FileValidation:
    """What was found when a file was judged; nothing, for one that was not."""
    faults, summary = row.faults or {}, row.summary or {}
    return FileValidation(
        file_id=row.id,
        status=row.status,
        format=row.format,
        examples=row.examples,
        fault_count=faults.get("count", 0),
        faults=faults.get("first", []),
        labels=summary.get("labels", {}),
        duplicates=summary.get("duplicates", 0),
        conflicts=summary.get("conflicts", 0),
        notes=summary.get("notes", []),
    )


def serialize_upload(row: Upload, file: File | None) -> UploadObject:
    """An upload, with the file that it has become."""
    return UploadObject(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        filename=row.filename,
        purpose=row.purpose,
        # That a request is just completing it is not for clients, whose types do not know it.
        status="pending" if row.state == "completing" else row.state,
        file=None if file is None else FileObject.model_validate(file),
    )
