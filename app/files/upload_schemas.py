"""Uploads in parts on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.files.schemas import ExpiresAfter, Filename, FileObject, UploadPurpose
from app.wire.base import UnixTime, bounded_int

MAX_PARTS = 10_000
PartId = Annotated[str, Field(max_length=64)]


class CreateUpload(BaseModel):
    """`bytes` is what all parts will have together; `mime_type` is asked for and not kept."""

    filename: Filename
    purpose: UploadPurpose
    bytes: Annotated[int, bounded_int(0, 2**63 - 1)]
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(BaseModel):
    """The parts in the file's order; `md5` is of the whole file, in hexadecimal digits."""

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
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None


class UploadPartObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: UnixTime
    upload_id: str
