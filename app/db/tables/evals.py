"""Evals: what is measured, over items of which shape."""

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, JsonList, JsonObject, Timestamp


class Eval(Base):
    """An eval. The row of a deleted one stays for a while, without its content, as a cursor."""

    __tablename__ = "evals"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    name: Mapped[str]
    user_metadata: Mapped[JsonObject | None]
    # As clients see them, with what the request left to the service: the schema, and ids.
    data_source_config: Mapped[JsonObject]
    testing_criteria: Mapped[JsonList]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        Index("ix_evals_project_page", "project_id", "created_at", "id"),
        Index("ix_evals_project_updates", "project_id", "updated_at", "id"),
        # For retention.
        Index("ix_evals_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )
