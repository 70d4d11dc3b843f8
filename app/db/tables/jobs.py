"""Fine-tuning jobs with their leases, attempts, events and metrics."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import (
    Base,
    BigInt,
    CreatedAt,
    JsonList,
    JsonObject,
    StrEnumType,
    Timestamp,
    format_sql_values,
)


class JobState(StrEnum):
    """States of a job; `app.jobs.states` has the transitions between them."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptOutcome(StrEnum):
    """Outcome of an attempt at a job.

    done       the job succeeded
    yielded    stopped at a checkpoint, to continue later or elsewhere
    postponed  the trainer lacked a resource, such as storage
    cancelled  the job was cancelled meanwhile
    failed     the job failed with the attempt
    crashed    training ended unexpectedly, or ran out of memory
    diverged   the learning rate was too high; the next attempt's is smaller
    lost       the lease expired, or the trainer died
    """

    DONE = "done"
    YIELDED = "yielded"
    POSTPONED = "postponed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    CRASHED = "crashed"
    DIVERGED = "diverged"
    LOST = "lost"


class AttemptEnd(StrEnum):
    """Reasons why an attempt ended, as the job's owner sees them.

    paused         stopped at a checkpoint, because the job was paused
    yielded        stopped at a checkpoint, to continue later or elsewhere
    killed         the training process was killed by a signal
    out_of_memory  the next attempt needs less memory
    The others are those of `AttemptOutcome`.
    """

    SUCCEEDED = "succeeded"
    PAUSED = "paused"
    YIELDED = "yielded"
    POSTPONED = "postponed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    KILLED = "killed"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    LOST = "lost"


class EventLevel(StrEnum):
    """Severity of a job event."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class EventType(StrEnum):
    """Kind of a job event: a text, or the metrics of a training step."""

    MESSAGE = "message"
    METRICS = "metrics"


TERMINAL_STATES = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
# Must match the partial index's predicate, or the planner does not use the index.
WITHOUT_METADATA_SQL = "(user_metadata IS NULL OR user_metadata = '{}')"


def _index_set(column: str) -> Index:
    """An index of the rows in which a column is not null."""
    return Index(f"ix_jobs_{column}", column, postgresql_where=text(f"{column} IS NOT NULL"))


class Job(Base):
    """A fine-tuning job. `attempt` is the fencing token: each acquisition (and cancellation)
    increments it, and a write by a trainer is accepted only with the current number.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    created_at: Mapped[CreatedAt]
    state: Mapped[JobState] = mapped_column(StrEnumType(JobState))
    attempt: Mapped[BigInt] = mapped_column(server_default="0")
    version: Mapped[int] = mapped_column(server_default="0")
    priority: Mapped[int] = mapped_column(server_default="0")
    run_after: Mapped[CreatedAt]
    no_progress_attempts: Mapped[int] = mapped_column(server_default="0")

    base_model: Mapped[str]
    # Fine-tuned model or checkpoint that training continues from.
    start_model: Mapped[str | None]
    training_file_id: Mapped[str] = mapped_column(ForeignKey("files.id"))
    validation_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    # Measured once, on the chosen weights; never used to choose them.
    test_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    # Metrics of the test file that the owner requested beside those that are always computed.
    test_metrics: Mapped[JsonList] = mapped_column(server_default="[]")
    # Metrics of the test file: those of the model, and of its base model where they are comparable.
    test_results: Mapped[JsonObject | None]
    # Evals on which the model is compared with its base model, with their runs and results.
    evaluations: Mapped[JsonList | None]
    evaluations_ended_at: Mapped[Timestamp | None]
    # Of jobs that wait, the one that was looked at longest ago is next.
    evaluations_checked_at: Mapped[Timestamp | None]
    method: Mapped[str]
    # As requested, "auto" included; `resolved_hyperparameters` has the numbers.
    hyperparameters: Mapped[JsonObject]
    resolved_hyperparameters: Mapped[JsonObject | None]
    seed: Mapped[int]
    suffix: Mapped[str | None]
    user_metadata: Mapped[JsonObject | None]
    integrations: Mapped[JsonList] = mapped_column(server_default="[]")

    # Rows per forward pass, halved after each out-of-memory; null leaves it to the trainer.
    micro_batch_size: Mapped[int | None]
    total_steps: Mapped[int | None]
    trained_tokens: Mapped[BigInt | None]
    # Time that trainers held it, in all ended attempts.
    trained_seconds: Mapped[float] = mapped_column(server_default="0")
    started_at: Mapped[Timestamp | None]
    estimated_finish: Mapped[Timestamp | None]
    finished_at: Mapped[Timestamp | None]
    fine_tuned_model: Mapped[str | None]
    result_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    # Evaluation metrics on the validation file, for methods that have them.
    evaluation_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    # Profile of the training file, which monitoring compares with the models' traffic.
    drift_baseline: Mapped[JsonObject | None]
    error_code: Mapped[str | None]
    error_param: Mapped[str | None]
    error_message: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(f"state IN {format_sql_values(JobState)}", name="state"),
        Index("ix_jobs_project_page", "project_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_jobs_project_state",
            "project_id",
            "state",
            text("created_at DESC"),
            text("id DESC"),
        ),
        # For retention, and for the foreign keys when a file's row is deleted.
        _index_set("finished_at"),
        Index(None, "training_file_id"),
        _index_set("validation_file_id"),
        _index_set("test_file_id"),
        _index_set("result_file_id"),
        _index_set("evaluation_file_id"),
        Index(
            "ix_jobs_open_evaluations",
            "finished_at",
            postgresql_where=text(
                "state = 'succeeded' AND evaluations IS NOT NULL AND evaluations_ended_at IS NULL"
            ),
        ),
        Index(
            "ix_jobs_without_metadata",
            "project_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text(WITHOUT_METADATA_SQL),
        ),
        Index(
            "ix_jobs_queued",
            "project_id",
            text("priority DESC"),
            "created_at",
            "id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_jobs_at_work",
            "project_id",
            "state",
            postgresql_where=text(
                "state IN ('validating_files', 'running', 'pausing', 'finalizing')"
            ),
        ),
    )


class JobMetadata(Base):
    """One metadata pair of a job, keyed so that a page of jobs with it is one index range.

    A trigger inserts these rows from each new job's `user_metadata`, which never changes.
    """

    __tablename__ = "job_metadata"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Timestamp] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)


class JobLease(Base):
    """Lease of a held job. A narrow table, so that heartbeats do not rewrite the job's wide row."""

    __tablename__ = "job_leases"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    attempt: Mapped[BigInt]
    trainer: Mapped[str]
    lease_until: Mapped[Timestamp]
    heartbeat_at: Mapped[CreatedAt]
    step: Mapped[int] = mapped_column(server_default="0")
    # Set by the scheduler: the trainer is to give the job back at its next checkpoint.
    yield_requested_at: Mapped[Timestamp | None]

    __table_args__ = (
        Index(None, "lease_until"),
        {
            "postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02},
        },
    )


class JobAttempt(Base):
    """One attempt at a job by a trainer, and its outcome."""

    __tablename__ = "job_attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    attempt: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    trainer: Mapped[str]
    started_at: Mapped[CreatedAt]
    ended_at: Mapped[Timestamp | None]
    outcome: Mapped[AttemptOutcome | None] = mapped_column(StrEnumType(AttemptOutcome))
    exit_code: Mapped[int | None]
    # The reason where the outcome alone does not say it; see `app.jobs.attempts`.
    end_reason: Mapped[AttemptEnd | None] = mapped_column(StrEnumType(AttemptEnd))
    # Sentence for the owner why it ended.
    message: Mapped[str | None]
    # Step of the checkpoint to continue from, 0 without one, and the last step reported.
    resumed_step: Mapped[int | None]
    reached_step: Mapped[int | None]
    # Of the training process, without training text; not loaded where attempts are counted.
    log_tail: Mapped[str | None] = mapped_column(deferred=True)
    # Time that a trainer held the job, set when the attempt ends, until its project is charged.
    uncharged_seconds: Mapped[float] = mapped_column(server_default="0")

    __table_args__ = (
        Index(
            "ix_job_attempts_uncharged",
            "job_id",
            postgresql_where=text("uncharged_seconds > 0"),
        ),
    )


class JobEvent(Base):
    """An event that users read. `seq` has no gaps; `dedupe_key` deduplicates retried writes."""

    __tablename__ = "job_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    seq: Mapped[int]
    attempt: Mapped[BigInt]
    dedupe_key: Mapped[str]
    created_at: Mapped[CreatedAt]
    level: Mapped[EventLevel] = mapped_column(StrEnumType(EventLevel))
    type: Mapped[EventType] = mapped_column(StrEnumType(EventType))
    message: Mapped[str]
    data: Mapped[JsonObject | None]

    __table_args__ = (UniqueConstraint("job_id", "seq"), UniqueConstraint("job_id", "dedupe_key"))


class JobTestAnswer(Base):
    """A model's answer to a row of a job's test file, kept until the job has ended: an attempt
    that is interrupted does not generate it again.

    `origin` is a digest of the weights and prompts that it was generated with.
    """

    __tablename__ = "job_test_answers"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    origin: Mapped[str] = mapped_column(server_default="")
    text: Mapped[str]


class JobMetric(Base):
    """Metrics of one step; those of a later attempt replace those of an earlier one."""

    __tablename__ = "job_metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[BigInt]
    values: Mapped[JsonObject]
