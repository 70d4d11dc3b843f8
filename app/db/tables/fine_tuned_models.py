"""Fine-tuned models and servable checkpoints, their permissions, aliases, and training usage."""

from datetime import date

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, Timestamp


class FineTunedModel(Base):
    """A model servable under `name`: a job's final one, or a checkpoint's if `step` is set."""

    __tablename__ = "fine_tuned_models"

    name: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    base_model: Mapped[str]
    # Step of a checkpoint; null for the job's final model.
    step: Mapped[int | None]
    # Folder in storage with adapter_config.json, adapter_model.safetensors and manifest.json.
    storage_prefix: Mapped[str]
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        Index("ix_fine_tuned_models_project_page", "project_id", text("created_at DESC"), "name"),
        Index(
            "ix_fine_tuned_models_deleted_at",
            "deleted_at",
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )


class CheckpointPermission(Base):
    """Permission of another project of the organization to use a fine-tuned model."""

    __tablename__ = "checkpoint_permissions"

    id: Mapped[str] = mapped_column(primary_key=True)
    model_name: Mapped[str] = mapped_column(ForeignKey("fine_tuned_models.name"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    created_at: Mapped[CreatedAt]

    __table_args__ = (UniqueConstraint("model_name", "project_id"),)


class ModelAlias(Base):
    """A short name of a project for a fine-tuned model or a checkpoint that it can use.

    Without a foreign key to the model: the alias of a deleted model stays, and says so.
    """

    __tablename__ = "model_aliases"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    model_name: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class TrainingUsage(Base):
    """Tokens trained by a succeeded job, until retention deletes the job."""

    __tablename__ = "training_usage"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    base_model: Mapped[str]
    trained_tokens: Mapped[BigInt]
    created_at: Mapped[CreatedAt]


class MonthlyTrainingUsage(Base):
    """Tokens trained by the succeeded jobs of a month that retention has deleted.

    `month` is its first day, in UTC.
    """

    __tablename__ = "training_usage_monthly"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    base_model: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    jobs: Mapped[BigInt]
    trained_tokens: Mapped[BigInt]
