"""Request and response bodies of models and their permissions."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.catalog import ModelKind
from app.engine_options import EngineKind
from app.wire.base import CursorListing, Listing, UnixTime

# Part of URLs, and never like the name of a fine-tuned model, which has colons.
ALIAS_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def _validate_alias(value: str) -> str:
    if re.fullmatch(ALIAS_PATTERN, value):
        return value
    rule = "expected 1 to 64 letters, digits and . _ -, the first one a letter or a digit"
    raise PydanticCustomError("alias", rule)


AliasName = Annotated[
    str,
    AfterValidator(_validate_alias),
    WithJsonSchema({"type": "string", "pattern": f"^{ALIAS_PATTERN}$"}),
]


def _is_none(value: object) -> bool:
    return value is None


class ModelDetails(BaseModel):
    """Facts of a model; an extension of OpenAI's object.

    `base_model` is the id of its base, also where `id` is an alias, and `alias_of` the model that
    an alias stands for. `methods` are those that a job which starts from the model may have,
    `context_length` is in tokens, and `job_id` and `method` are those of the job that made it.
    `engine` is the kind of the engine that answers for it: "luthier" is the built-in one, "other" a
    server whose kind is not known before it is asked.
    """

    base_model: str
    kind: ModelKind
    methods: list[str]
    context_length: int
    license: str | None
    engine: EngineKind
    job_id: str | None
    method: str | None
    alias_of: str | None


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


class AliasStatus(StrEnum):
    """Answers that requests to an alias get.

    active             the model's answer
    model_unavailable  an error: the model was deleted, or is no longer shared with the project
    name_taken         the base model that got the same name in models.toml later
    """

    ACTIVE = "active"
    MODEL_UNAVAILABLE = "model_unavailable"
    NAME_TAKEN = "name_taken"


class UpdateAlias(BaseModel):
    """`model` is a fine-tuned model, a checkpoint, or an alias, whose model it then is."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=256)]


class CreateAlias(UpdateAlias):
    name: AliasName


class AliasObject(BaseModel):
    """A short name of the project for a fine-tuned model or checkpoint; an extension."""

    name: str
    object: Literal["model.alias"] = "model.alias"
    model: str
    status: AliasStatus
    created_at: UnixTime
    updated_at: UnixTime


class AliasList(Listing):
    data: list[AliasObject]


class AliasDeleted(BaseModel):
    name: str
    object: Literal["model.alias"] = "model.alias"
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
