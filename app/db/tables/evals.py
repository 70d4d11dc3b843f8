"""Evals: what is measured, over items of which shape; their runs, and what each item gave."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
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


class EvalRunState(StrEnum):
    """States of a run; the last three are terminal. OpenAI spells `canceled` with one l.

    queued       its items are not counted yet
    in_progress  its items are sampled and graded
    completed    all items have a result, be it an error
    canceled     its owner cancelled it; the results so far stay
    failed       its source has no items, or the service gave up
    """

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELED = "canceled"
    FAILED = "failed"


ENDED_RUN_STATES = (EvalRunState.COMPLETED, EvalRunState.CANCELED, EvalRunState.FAILED)


class OutputItemStatus(StrEnum):
    """Statuses of an item. `error`: the model or a criterion could not be asked about it."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"


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


class EvalRun(Base):
    """A run of an eval. Its items are a work list with its id, until it has ended.

    The row of a deleted one stays for a while, without its content, as a cursor.
    """

    __tablename__ = "eval_runs"

    id: Mapped[str] = mapped_column(primary_key=True)
    eval_id: Mapped[str] = mapped_column(ForeignKey("evals.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    # Key that its usage is counted to.
    api_key_id: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    state: Mapped[EvalRunState] = mapped_column(StrEnumType(EvalRunState))
    name: Mapped[str]
    # The own name of the model that is sampled, not an alias; empty if the items bring their
    # samples.
    model: Mapped[str]
    user_metadata: Mapped[JsonObject | None]
    # Not loaded with the rows of a page: up to 1 MiB each.
    data_source: Mapped[JsonObject]
    # The stored completions, if they were chosen at creation, until the run is divided into ranges.
    completion_ids: Mapped[JsonList | None] = mapped_column(deferred=True)
    # The file of the items, if the request does not contain them.
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    num_items: Mapped[int] = mapped_column(server_default="0")
    # Sums of the items' totals once it has ended, and metrics of all items together, as JSON: not
    # JSONB, which has no NUL in texts, such as those that a model was to choose as a label.
    totals: Mapped[JsonObject | None]
    metrics: Mapped[bytes | None] = mapped_column(LargeBinary)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    ended_at: Mapped[Timestamp | None]
    deleted_at: Mapped[Timestamp | None]
    # Of `data_source`; a trigger counts them to the project. 0 if an older version wrote the row.
    bytes: Mapped[BigInt] = mapped_column(server_default="0")

    __table_args__ = (
        CheckConstraint(f"state IN {format_sql_values(EvalRunState)}", name="state"),
        Index("ix_eval_runs_eval_page", "eval_id", "created_at", "id"),
        Index("ix_eval_runs_project_id_state", "project_id", "state"),
        # For retention.
        Index("ix_eval_runs_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index(
            "ix_eval_runs_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")
        ),
        Index(None, "file_id"),
    )


class EvalOutputItem(Base):
    """Output of one item: `content` is JSON with its source, the model's sample, and the result of
    each criterion. Triggers count the bytes to the project."""

    __tablename__ = "eval_output_items"

    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("eval_runs.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    index: Mapped[int]
    created_at: Mapped[CreatedAt]
    status: Mapped[OutputItemStatus] = mapped_column(StrEnumType(OutputItemStatus))
    # Not JSONB, which has no NUL in texts.
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    bytes: Mapped[BigInt]
    # By the number of the criterion, null for one with an error; empty if the item was gone. None
    # if an older version wrote the row.
    scores: Mapped[JsonList | None]

    __table_args__ = (
        CheckConstraint(f"status IN {format_sql_values(OutputItemStatus)}", name="status"),
        # The key lets no two processes add an item twice.
        UniqueConstraint("run_id", "index"),
        Index("ix_eval_output_items_status", "run_id", "status", "index"),
        Index(None, "project_id"),
    )
