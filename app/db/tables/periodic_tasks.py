"""Last successful runs of the periodic tasks."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Timestamp


class PeriodicTaskRun(Base):
    """One row per task; `interval_seconds` is the interval at which it is meant to run."""

    __tablename__ = "periodic_tasks"

    name: Mapped[str] = mapped_column(primary_key=True)
    last_succeeded_at: Mapped[Timestamp]
    interval_seconds: Mapped[float]
