"""Keys of a project on the wire."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.wire.base import CursorListing, TtlSeconds, UnixTime


class ModifyApiKey(BaseModel):
    """What is left out stays; `null` is no value of either."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    expires_in_seconds: TtlSeconds | None = None
    scopes: list[str] | None = None

    @field_validator("expires_in_seconds", "scopes")
    @classmethod
    def _reject_null(cls, value: int | list[str] | None) -> int | list[str]:
        if value is None:
            raise PydanticCustomError("null", "expected a value; leave it out to change nothing")
        return value

    @model_validator(mode="after")
    def _require_change(self) -> Self:
        if self.expires_in_seconds is None and self.scopes is None:
            raise PydanticCustomError("no_change", "give 'expires_in_seconds', 'scopes', or both")
        return self


class UserOwner(BaseModel):
    id: str
    email: str
    name: str
    created_at: UnixTime
    role: str


class ServiceAccountOwner(BaseModel):
    id: str
    name: str
    created_at: UnixTime
    role: str


class ApiKeyOwner(BaseModel):
    """A service account; or a user, who is the operator: there are no others."""

    type: Literal["user", "service_account"]
    user: UserOwner | None = None
    service_account: ServiceAccountOwner | None = None


class ApiKeyObject(BaseModel):
    id: str
    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    name: str
    redacted_value: str
    created_at: UnixTime
    last_used_at: UnixTime | None
    expires_at: UnixTime | None
    owner: ApiKeyOwner
    owner_project_access: Literal["active", "inactive"]


class ApiKeyList(CursorListing):
    data: list[ApiKeyObject]


class ApiKeyDeleted(BaseModel):
    id: str
    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    deleted: bool
