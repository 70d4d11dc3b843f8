"""Request and response bodies of the admin API."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.db.tables import ServiceAccountRole
from app.wire.base import CursorListing, DisplayName, TtlSeconds, UnixTime


class ProjectAccess(StrEnum):
    """Filter of a project's API keys by their owner's access to the project."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    ANY = "any"


class CreateProject(BaseModel):
    """Data stays where the service runs, under its own keys; other choices are rejected."""

    name: DisplayName
    residency: Literal["GLOBAL"] | None = None
    external_key_id: None = None
    geography: None = None


class ModifyProject(BaseModel):
    name: DisplayName | None = None
    external_key_id: None = None
    geography: None = None


class ProjectObject(BaseModel):
    id: str
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: UnixTime
    archived_at: UnixTime | None
    status: Literal["active", "archived"]
    external_key_id: None = None
    residency: Literal["GLOBAL"] = "GLOBAL"


class ProjectList(CursorListing):
    data: list[ProjectObject]


class ModifyApiKey(BaseModel):
    """Omitted fields keep their value; `null` is not valid for either."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    expires_in_seconds: TtlSeconds | None = None
    scopes: list[str] | None = None

    @field_validator("expires_in_seconds", "scopes")
    @classmethod
    def _reject_null(cls, value: int | list[str] | None) -> int | list[str]:
        if value is None:
            raise PydanticCustomError(
                "null", "expected a value; omit the field to keep it as it is"
            )
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
    """A service account, or the operator: there are no other users."""

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


class CreateServiceAccount(BaseModel):
    """With `create_service_account_only`, the account has no role and no key."""

    name: DisplayName
    create_service_account_only: bool | None = None
    expires_in_seconds: TtlSeconds | None = None

    @field_validator("expires_in_seconds")
    @classmethod
    def _reject_expiry_without_key(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("create_service_account_only"):
            raise PydanticCustomError("no_key", "without a key there is nothing that expires")
        return value


class ModifyServiceAccount(BaseModel):
    """Both roles have the same permissions."""

    name: DisplayName | None = None
    role: Literal[ServiceAccountRole.MEMBER, ServiceAccountRole.OWNER] | None = None


class CreateServiceAccountKey(BaseModel):
    name: DisplayName | None = None
    scopes: list[str] | None = None
    expires_in_seconds: TtlSeconds | None = None


class ServiceAccountObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    name: str
    role: ServiceAccountRole
    created_at: UnixTime


class NewServiceAccountKey(BaseModel):
    """The only response that ever contains the key's secret, as `value`."""

    id: str
    object: Literal["organization.project.service_account.api_key"] = (
        "organization.project.service_account.api_key"
    )
    name: str
    created_at: UnixTime
    expires_at: UnixTime | None
    value: str


class NewServiceAccount(ServiceAccountObject):
    api_key: NewServiceAccountKey | None


class ServiceAccountList(CursorListing):
    data: list[ServiceAccountObject]


class ServiceAccountDeleted(BaseModel):
    id: str
    object: Literal["organization.project.service_account.deleted"] = (
        "organization.project.service_account.deleted"
    )
    deleted: bool


class CreateAdminKey(BaseModel):
    name: DisplayName
    expires_in_seconds: TtlSeconds | None = None


class AdminKeyOwner(BaseModel):
    """The operator: there are no other users."""

    type: Literal["user"] = "user"
    object: Literal["organization.user"] = "organization.user"
    id: str
    name: str
    created_at: UnixTime
    role: Literal["owner"] = "owner"


class AdminKeyObject(BaseModel):
    id: str
    object: Literal["organization.admin_api_key"] = "organization.admin_api_key"
    name: str
    redacted_value: str
    created_at: UnixTime
    expires_at: UnixTime | None
    last_used_at: UnixTime | None
    owner: AdminKeyOwner


class NewAdminKey(AdminKeyObject):
    """The only response that ever contains the key's secret, as `value`."""

    value: str


class AdminKeyList(CursorListing):
    data: list[AdminKeyObject]


class AdminKeyDeleted(BaseModel):
    id: str
    object: Literal["organization.admin_api_key.deleted"] = "organization.admin_api_key.deleted"
    deleted: bool
