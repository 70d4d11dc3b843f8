"""When each of the machinery's duties was last done."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Timestamp


class PeriodicTaskRun(Base):
    """One row a duty. `every_seconds` says how old its last success may grow."""

    __tablename__ = "periodic_tasks"

    name: Mapped[str] = mapped_column(primary_key=True)
    last_succeeded_at: Mapped[Timestamp]
    interval_seconds: Mapped[float]
