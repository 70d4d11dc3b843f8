"""Response bodies of the health routes."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel


class ReadinessStatus(StrEnum):
    """`degraded`: requests are served, but a background process needs an operator's attention."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """State of one dependency; `message` describes the problem."""

    ok: bool
    message: str | None = None


class Readiness(BaseModel):
    """State of the service and of each of its dependencies."""

    status: ReadinessStatus
    checks: dict[str, Check]
