"""Serializers of files and uploads: rows to wire objects."""

from app.db.tables import File, Upload, UploadState
from app.files.schemas import FileObject, FileValidation, UploadObject


def serialize_file(row: File) -> FileObject:
    return FileObject.model_validate(row)


def serialize_validation(row: File) -> FileValidation:
    """Serialize the validation report of a file; empty for one that was not validated."""
    errors, summary = row.validation_errors or {}, row.summary or {}
    return FileValidation(
        file_id=row.id,
        status=row.status,
        format=row.format,
        examples=row.examples,
        error_count=errors.get("count", 0),
        errors=errors.get("first", []),
        labels=summary.get("labels", {}),
        duplicates=summary.get("duplicates", 0),
        conflicts=summary.get("conflicts", 0),
        notes=summary.get("notes", []),
    )


def serialize_upload(row: Upload, file: File | None) -> UploadObject:
    """Serialize an upload, with its file once it is completed."""
    return UploadObject(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        filename=row.filename,
        purpose=row.purpose,
        # "completing" is internal: clients' types do not know it.
        status=UploadState.PENDING if row.state == UploadState.COMPLETING else row.state,
        file=None if file is None else serialize_file(file),
    )
