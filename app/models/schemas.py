"""Models on the wire."""

from typing import Literal

from pydantic import BaseModel

from app.wire.base import UnixTime


class ModelObject(BaseModel):
    """A base model (owned by "system") or a tuned one (owned by the organization)."""

    id: str
    object: Literal["model"] = "model"
    created: UnixTime
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]


class ModelDeleted(BaseModel):
    id: str
    object: Literal["model"] = "model"
    deleted: bool
