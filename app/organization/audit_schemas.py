"""Response bodies of the audit log."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from app.db.tables import AuditEvent
from app.wire.base import CursorListing, UnixTime


class AuditProject(BaseModel):
    id: str
    name: str


class AuditUser(BaseModel):
    """The operator, whose admin keys are; or the name of a user of the machine."""

    id: str
    email: str | None = None


class AuditSession(BaseModel):
    """A command; it has no address, since it runs on the machine."""

    ip_address: None = None
    user: AuditUser


class AuditApiKey(BaseModel):
    id: str
    type: Literal["user"] = "user"
    user: AuditUser


class AuditActorObject(BaseModel):
    """An admin key, or the user who ran a command as a session."""

    type: Literal["api_key", "session"]
    api_key: AuditApiKey | None = None
    session: AuditSession | None = None


class AuditLogObject(BaseModel):
    """A change. A field that is named as its `type` has the id of what was changed, and `data` or
    `changes_requested`."""

    model_config = ConfigDict(extra="allow")

    id: str
    effective_at: UnixTime
    type: AuditEvent
    actor: AuditActorObject
    project: AuditProject | None = None


class AuditLogList(CursorListing):
    data: list[AuditLogObject]
