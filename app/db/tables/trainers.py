"""The trainers that are there, and whether they take jobs."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt


class TrainerProcess(Base):
    """One row a trainer process. One that is not heard of any more is gone, whatever its state."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    # Nothing here reads it: it is for people who look into the table.
    started_at: Mapped[CreatedAt]
    heartbeat_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint("state IN ('active', 'draining', 'unhealthy')", name="state"),
    )
