"""Files on the wire."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.wire.base import CursorListing, UnixTime

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
MAX_FILENAME_LENGTH = 255


def sanitize_filename(filename: str) -> str:
    """A name without folders. It is shown to people and is never part of a path or a key."""
    printable = "".join(letter for letter in filename if letter.isprintable())
    name = printable.replace("\\", "/").rpartition("/")[2]
    if len(name) <= MAX_FILENAME_LENGTH:
        return name or "upload"
    # What comes behind the last dot says what the file is: a cut must not make it another.
    extension = PurePosixPath(name).suffix
    stem = name[: max(1, MAX_FILENAME_LENGTH - len(extension))]
    return (stem + extension)[:MAX_FILENAME_LENGTH]


Filename = Annotated[str, AfterValidator(sanitize_filename)]


class ExpiresAfter(BaseModel):
    """When a file expires: so many seconds after its creation, an hour to 30 days."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2592000)


class FileFields(BaseModel):
    """The fields of an upload beside its file."""

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
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None


class FileList(CursorListing):
    data: list[FileObject]


class FileLineError(BaseModel):
    """`line` counts from 1; `offset` is the byte of the file at which the line begins."""

    line: int
    offset: int
    reason: str
    code: str


class FileValidation(BaseModel):
    """What was found when a training file was judged: the first of `fault_count` faults, and what
    is known of the good examples."""

    object: Literal["file.verdict"] = "file.verdict"
    file_id: str
    status: Literal["uploaded", "processed", "error"]
    format: str | None
    examples: int | None
    fault_count: int
    faults: list[FileLineError]
    labels: dict[str, int]
    duplicates: int
    conflicts: int
    notes: list[str]


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool
