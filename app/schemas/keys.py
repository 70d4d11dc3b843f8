"""Keys of a project on the wire."""

from typing import Literal

from pydantic import BaseModel

from app.schemas.wire import CursorListing, UnixTime


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


class KeyOwner(BaseModel):
    """A service account; or a user, who is the operator: there are no others."""

    type: Literal["user", "service_account"]
    user: UserOwner | None = None
    service_account: ServiceAccountOwner | None = None


class KeyObject(BaseModel):
    id: str
    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    name: str
    redacted_value: str
    created_at: UnixTime
    last_used_at: UnixTime | None
    expires_at: UnixTime | None
    owner: KeyOwner
    owner_project_access: Literal["active", "inactive"]


class KeyList(CursorListing):
    data: list[KeyObject]


class KeyDeleted(BaseModel):
    id: str
    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    deleted: bool
