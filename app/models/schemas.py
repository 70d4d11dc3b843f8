"""Request and response bodies of models and their permissions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.wire.base import CursorListing, UnixTime


class ModelObject(BaseModel):
    """A base model (owned by "system") or a fine-tuned one (owned by the organization)."""

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


class CreatePermissions(BaseModel):
    project_ids: Annotated[
        list[Annotated[str, Field(max_length=256)]], Field(min_length=1, max_length=100)
    ]


class PermissionObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: UnixTime
    project_id: str


class PermissionList(CursorListing):
    data: list[PermissionObject]


class PermissionDeleted(BaseModel):
    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: bool
