"""Hyperparameter sweeps: their trials, each of which is an ordinary job, and their events."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import (
    Base,
    CreatedAt,
    JsonObject,
    StrEnumType,
    Timestamp,
    format_sql_values,
)
from app.db.tables.jobs import EventLevel


class SweepState(StrEnum):
    """States of a sweep; all but `running` are terminal.

    running    trials wait to be created, or their jobs have not ended
    succeeded  all jobs have ended, and at least one of them has the metric
    failed     no job has it; `error_message` says why
    cancelled  its owner cancelled it, or its project was archived
    """

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TrialState(StrEnum):
    """States of a trial.

    pending    its job is not created yet
    running    its job has not ended
    succeeded  its job has succeeded; `value` is the metric, null if the job did not report it
    failed     its job has failed, or could not be created
    cancelled  its job or its sweep was cancelled
    deleted    its model was deleted before the sweep ended
    """

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETED = "deleted"


class SweepStrategy(StrEnum):
    """Method of choosing the hyperparameters of a sweep's trials.

    grid     all combinations of the listed values
    random   combinations drawn at random
    halving  random combinations, of which the better third is trained for longer, and so on
    """

    GRID = "grid"
    RANDOM = "random"
    HALVING = "halving"


class Sweep(Base):
    """A sweep. Its row is locked before the sweep, its trials' states or its events change."""

    __tablename__ = "sweeps"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    created_at: Mapped[CreatedAt]
    state: Mapped[SweepState] = mapped_column(StrEnumType(SweepState))
    strategy: Mapped[SweepStrategy] = mapped_column(StrEnumType(SweepStrategy))
    # Body of a request that creates a job, without what the trials add.
    job: Mapped[JsonObject]
    space: Mapped[JsonObject]
    max_jobs: Mapped[int]
    metric: Mapped[str]
    seed: Mapped[int]
    user_metadata: Mapped[JsonObject | None]

    # What later trials will need is not deleted before.
    start_model: Mapped[str | None]
    training_file_id: Mapped[str] = mapped_column(ForeignKey("files.id"))
    validation_file_id: Mapped[str] = mapped_column(ForeignKey("files.id"))
    test_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))

    # Sweeps are advanced in turn.
    advanced_at: Mapped[CreatedAt]
    finished_at: Mapped[Timestamp | None]
    error_message: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(f"state IN {format_sql_values(SweepState)}", name="state"),
        CheckConstraint(f"strategy IN {format_sql_values(SweepStrategy)}", name="strategy"),
        Index("ix_sweeps_project_page", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_sweeps_running", "advanced_at", postgresql_where=text("state = 'running'")),
        # For retention, and for the foreign keys when a file's row is deleted.
        Index("ix_sweeps_finished_at", "finished_at", postgresql_where=text("state <> 'running'")),
        Index(None, "training_file_id"),
        Index(None, "validation_file_id"),
        Index(None, "test_file_id"),
    )


class SweepTrial(Base):
    """A combination of hyperparameters. The key lets no two processes add one twice."""

    __tablename__ = "sweep_trials"

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Round of successive halving; 0 for the other strategies.
    rung: Mapped[int]
    # Those that the sweep varies.
    hyperparameters: Mapped[JsonObject]
    state: Mapped[TrialState] = mapped_column(StrEnumType(TrialState))
    # Null before the job is created, and after its row is deleted.
    job_id: Mapped[str | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="SET NULL"), unique=True
    )
    fine_tuned_model: Mapped[str | None]
    value: Mapped[float | None]
    error_message: Mapped[str | None]

    __table_args__ = (CheckConstraint(f"state IN {format_sql_values(TrialState)}", name="state"),)


class SweepEvent(Base):
    """An event that users read. `seq` has no gaps."""

    __tablename__ = "sweep_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"))
    seq: Mapped[int]
    created_at: Mapped[CreatedAt]
    level: Mapped[EventLevel] = mapped_column(StrEnumType(EventLevel))
    message: Mapped[str]
    data: Mapped[JsonObject]

    __table_args__ = (UniqueConstraint("sweep_id", "seq"),)
