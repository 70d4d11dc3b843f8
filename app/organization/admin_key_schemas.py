"""Admin keys of an organization on the wire."""

from typing import Literal

from pydantic import BaseModel

from app.wire.base import CursorListing, DisplayName, TtlSeconds, UnixTime


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
    """The only answer that ever holds the key's secret, as `value`."""

    value: str


class AdminKeyList(CursorListing):
    data: list[AdminKeyObject]


class AdminKeyDeleted(BaseModel):
    id: str
    object: Literal["organization.admin_api_key.deleted"] = "organization.admin_api_key.deleted"
    deleted: bool
