"""Trainer processes and their heartbeats."""

from enum import StrEnum

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, StrEnumType, format_sql_values


class TrainerState(StrEnum):
    """States of a live trainer. `unhealthy`: its circuit breaker is open and it takes no jobs."""

    ACTIVE = "active"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"


class TrainerProcess(Base):
    """One row per trainer process. If its heartbeat is old it is dead, whatever its state."""

    __tablename__ = "trainers"

    name: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[TrainerState] = mapped_column(StrEnumType(TrainerState))
    # For operators who inspect the table; no code reads it.
    started_at: Mapped[CreatedAt]
    heartbeat_at: Mapped[CreatedAt]

    __table_args__ = (CheckConstraint(f"state IN {format_sql_values(TrainerState)}", name="state"),)
