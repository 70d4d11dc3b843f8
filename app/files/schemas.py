"""Request and response bodies of files and multi-part uploads."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.db.tables import FileStatus
from app.formats import ErrorCode, FormatName
from app.wire.base import CursorListing, UnixTime, bounded_int

# The FilePurpose values that a client may send; only jobs create result files.
UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
MAX_FILENAME_LENGTH = 255
MAX_PARTS = 10_000


def sanitize_filename(filename: str) -> str:
    """Reduce a name to its printable base name, truncated. It is never used as a path or key."""
    printable = "".join(letter for letter in filename if letter.isprintable())
    name = printable.replace("\\", "/").rpartition("/")[2]
    if len(name) <= MAX_FILENAME_LENGTH:
        return name or "upload"
    # Truncate the stem, not the extension, which shows the type of the file.
    extension = PurePosixPath(name).suffix
    stem = name[: max(1, MAX_FILENAME_LENGTH - len(extension))]
    return (stem + extension)[:MAX_FILENAME_LENGTH]


Filename = Annotated[str, AfterValidator(sanitize_filename)]
PartId = Annotated[str, Field(max_length=64)]


class ExpiresAfter(BaseModel):
    """Expiry in seconds after the file's creation, from one hour to 30 days."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2592000)


class FileFields(BaseModel):
    """The fields of an upload form, apart from the file itself."""

    purpose: UploadPurpose
    expires_after: ExpiresAfter | None = None


class FileObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: UnixTime
    expires_at: UnixTime | None
    filename: str
    purpose: str
    status: FileStatus
    status_details: str | None
    # Extension: hex digest of the content.
    sha256: str


class FileList(CursorListing):
    data: list[FileObject]


class FileLineError(BaseModel):
    """The error of one example.

    `line` counts from 1; `offset` is the byte at which the line starts.
    """

    line: int
    offset: int
    reason: str
    code: ErrorCode


class FileValidation(BaseModel):
    """The validation report of a training file: the first of `error_count` errors, and a summary
    of its valid examples."""

    object: Literal["file.validation"] = "file.validation"
    file_id: str
    status: FileStatus
    format: FormatName | None
    examples: int | None
    error_count: int
    errors: list[FileLineError]
    labels: dict[str, int]
    duplicates: int
    conflicts: int
    notes: list[str]


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool


class CreateUpload(BaseModel):
    """`bytes` is the size of all parts together; `mime_type` is required and ignored."""

    filename: Filename
    purpose: UploadPurpose
    bytes: Annotated[int, bounded_int(0, 2**63 - 1)]
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(BaseModel):
    """The parts in file order; `md5` is that of the whole file, in hexadecimal."""

    part_ids: list[PartId] = Field(max_length=MAX_PARTS)
    md5: str | None = Field(None, max_length=64)


class UploadObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: UnixTime
    expires_at: UnixTime
    filename: str
    purpose: str
    # UploadState, without the internal "completing".
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None


class UploadPartObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: UnixTime
    upload_id: str
