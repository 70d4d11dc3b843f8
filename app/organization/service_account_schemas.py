"""Service accounts of a project on the wire."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from app.wire.base import CursorListing, DisplayName, TtlSeconds, UnixTime


class CreateServiceAccount(BaseModel):
    """With `create_service_account_only` it has no role and no key."""

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
    """Both roles may do the same here."""

    name: DisplayName | None = None
    role: Literal["member", "owner"] | None = None


class CreateServiceAccountKey(BaseModel):
    name: DisplayName | None = None
    scopes: list[str] | None = None
    expires_in_seconds: TtlSeconds | None = None


class ServiceAccountObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    name: str
    role: Literal["owner", "member", "none"]
    created_at: UnixTime


class NewServiceAccountKey(BaseModel):
    """The only answer that ever holds the key's secret, as `value`."""

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
