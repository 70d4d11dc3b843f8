"""Health answers."""

from typing import Literal

from pydantic import BaseModel


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One part that the service stands on; `message` says what is wrong with it."""

    ok: bool
    message: str | None = None


class Readiness(BaseModel):
    """`degraded`: requests are served, but something behind them wants an operator."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, Check]
