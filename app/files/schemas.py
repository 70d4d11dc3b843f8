"""Files on the wire."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.wire.base import CursorListing, UnixTime

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
LONGEST_FILENAME = 255


def base_name(filename: str) -> str:
    """A name without folders. It is shown to people and is never part of a path or a key."""
    printable = "".join(letter for letter in filename if letter.isprintable())
    name = printable.replace("\\", "/").rpartition("/")[2]
    if len(name) <= LONGEST_FILENAME:
        return name or "upload"
    # What comes behind the last dot says what the file is: a cut must not make it another.
    extension = PurePosixPath(name).suffix
    stem = name[: max(1, LONGEST_FILENAME - len(extension))]
    return (stem + extension)[:LONGEST_FILENAME]


Filename = Annotated[str, AfterValidator(base_name)]


class ExpiresAfter(BaseModel):
    """When a file expires: so many seconds after its creation, an hour to 30 days."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2592000)


class FileFields(BaseModel):
    """The fields of an upload beside its file."""

    purpose: Purpose
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


class FileFault(BaseModel):
    """`line` counts from 1; `offset` is the byte of the file at which the line begins."""

    line: int
    offset: int
    reason: str
    code: str


class FileVerdict(BaseModel):
    """What was found when a training file was judged: the first of `fault_count` faults, and what
    is known of the good examples."""

    object: Literal["file.verdict"] = "file.verdict"
    file_id: str
    status: Literal["uploaded", "processed", "error"]
    format: str | None
    examples: int | None
    fault_count: int
    faults: list[FileFault]
    labels: dict[str, int]
    duplicates: int
    conflicts: int
    notes: list[str]


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool
