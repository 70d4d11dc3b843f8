"""Response body of /v1/limits."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel


class LimitUnit(StrEnum):
    BYTES = "bytes"
    FILES = "files"
    HOURS = "hours"
    JOBS = "jobs"
    REQUESTS = "requests"
    TOKENS = "tokens"
    UPLOADS = "uploads"


class LimitScope(StrEnum):
    """The thing that a limit is counted for. Those of an item have no use that adds up."""

    KEY = "key"
    PROJECT = "project"
    ITEM = "item"


class Limit(BaseModel):
    """A limit; `limit` is null without one, and `used` where nothing adds up.

    `advice` says what happens at the limit, and what to do.
    """

    name: str
    scope: LimitScope
    unit: LimitUnit
    limit: int | float | None
    used: int | float | None
    advice: str


class RetentionStart(StrEnum):
    """Event from which the time of a retention counts."""

    CREATED = "created"
    LAST_CHANGED = "last_changed"
    LAST_USED = "last_used"
    ENDED = "ended"
    DELETED = "deleted"
    ARCHIVED = "archived"


class Retention(BaseModel):
    """Time after which things of a kind are deleted; `seconds` is null if they are kept.

    `exception` says what else deletes or keeps them.
    """

    name: str
    seconds: float | None
    since: RetentionStart
    exception: str | None


class ProjectLimits(BaseModel):
    """Limits of the key's project and of the key, with their present use, and retention."""

    object: Literal["limits"] = "limits"
    limits: list[Limit]
    retention: list[Retention]
