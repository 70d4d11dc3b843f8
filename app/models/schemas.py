"""Request and response bodies of models and their permissions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.catalog import ModelKind
from app.engine_options import EngineKind
from app.wire.base import CursorListing, UnixTime


def _is_none(value: object) -> bool:
    return value is None


class ModelDetails(BaseModel):
    """Facts of a model; an extension of OpenAI's object.

    `base_model` is the id of its base, also where `id` is an alias. `methods` are those that a job
    which starts from the model may have, `context_length` is in tokens, and `job_id` and `method`
    are those of the job that made it. `engine` is the kind of the engine that answers for it:
    "luthier" is the built-in one, "other" a server whose kind is not known before it is asked.
    """

    base_model: str
    kind: ModelKind
    methods: list[str]
    context_length: int
    license: str | None
    engine: EngineKind
    job_id: str | None
    method: str | None


class ModelObject(BaseModel):
    """A base model (owned by "system") or a fine-tuned one (owned by the organization)."""

    id: str
    object: Literal["model"] = "model"
    created: UnixTime
    owned_by: str
    # Only where the request includes them, and the catalog still has the base model.
    details: Annotated[ModelDetails | None, Field(exclude_if=_is_none)] = None


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
