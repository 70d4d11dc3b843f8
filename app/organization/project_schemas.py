"""Projects of an organization on the wire."""

from typing import Literal

from pydantic import BaseModel

from app.wire.base import CursorListing, DisplayName, UnixTime


class CreateProject(BaseModel):
    """Data stays where the service runs, and under its keys: other choices are refused."""

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
