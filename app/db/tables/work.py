"""Work over lists of items: the lists, the ranges that are leased, and results not yet filed."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import (
    Base,
    BigInt,
    CreatedAt,
    JsonObject,
    StrEnumType,
    Timestamp,
    format_sql_values,
)


class WorkPhase(StrEnum):
    """Phases of a list. One that has ended has no row any more, or the phase `ended`.

    planning   its items are found and checked, and divided into ranges
    running    ranges are leased, and their items done
    finishing  all items are done, or the list was stopped: results are gathered
    ended      nothing is left to do
    """

    PLANNING = "planning"
    RUNNING = "running"
    FINISHING = "finishing"
    ENDED = "ended"


class WorkStop(StrEnum):
    """Reason why a list became `finishing` before all of its items were done."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"


# Conditions of indexes; a query that has them as they stand finds the index.
HAS_WORK = "phase <> 'ended'"
IS_STOPPABLE = "phase IN ('planning', 'running')"
MAY_WAIT = "claimable_at IS NOT NULL"


class WorkList(Base):
    """A list of items. Its row is locked before its phase or its ranges change.

    `attempt` is the fencing token of the lease on its planning and on its finishing. Only the row
    of a range is locked to record results, so that recording never waits for other ranges.
    """

    __tablename__ = "work_lists"

    # That of what the list is for, such as a batch.
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    # A name of `app.work.kinds`, or a newer version's.
    kind: Mapped[str]
    phase: Mapped[WorkPhase] = mapped_column(StrEnumType(WorkPhase))
    stop_reason: Mapped[WorkStop | None] = mapped_column(StrEnumType(WorkStop))
    # Sentence for the owner, if it was stopped because it failed.
    stop_message: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    # It is stopped at this time.
    expires_at: Mapped[Timestamp | None]
    # Lists of a project take turns.
    served_at: Mapped[CreatedAt]
    attempt: Mapped[BigInt] = mapped_column(server_default="0")
    # Attempts that ended without a result since the last success.
    failures: Mapped[int] = mapped_column(server_default="0")
    # Until then nobody else may claim it: it is leased, or waits after a failure. While it is
    # running, none of its ranges can be claimed before; perhaps none can then.
    lease_until: Mapped[Timestamp | None]

    __table_args__ = (
        CheckConstraint(f"phase IN {format_sql_values(WorkPhase)}", name="phase"),
        CheckConstraint(f"stop_reason IN {format_sql_values(WorkStop)}", name="stop_reason"),
        Index("ix_work_lists_turn", "project_id", "served_at", postgresql_where=text(HAS_WORK)),
        Index("ix_work_lists_expires_at", "expires_at", postgresql_where=text(IS_STOPPABLE)),
        Index(None, "project_id"),
    )


class WorkQueue(Base):
    """The lists of a project that wait. Projects take turns, as a project's lists do.

    A trigger of `work_lists` writes it when a transaction commits that lets a list be claimed
    earlier, and a claim that finds nothing.
    """

    __tablename__ = "work_queues"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    served_at: Mapped[CreatedAt]
    # No list can be claimed before; perhaps none can then. NULL if no list has work.
    claimable_at: Mapped[Timestamp | None]

    __table_args__ = (Index("ix_work_queues_turn", "served_at", postgresql_where=text(MAY_WAIT)),)


IS_OPEN = "done_at IS NULL"


class WorkRange(Base):
    """Items `first_index` to `end_index`, without the latter: what is leased.

    `source` says where the kind finds the items. The counts and `totals`, named sums of the kind,
    are those of the recorded results. The results of a range that is done are rows, or were filed
    by the kind as an object of `bytes`, the first `split_at` of which are those of success.
    """

    __tablename__ = "work_ranges"

    list_id: Mapped[str] = mapped_column(
        ForeignKey("work_lists.id", ondelete="CASCADE"), primary_key=True
    )
    first_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    end_index: Mapped[int]
    source: Mapped[JsonObject]
    attempt: Mapped[BigInt] = mapped_column(server_default="0")
    failures: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[Timestamp | None]
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    totals: Mapped[JsonObject] = mapped_column(server_default="{}")
    done_at: Mapped[Timestamp | None]
    storage_key: Mapped[str | None]
    bytes: Mapped[BigInt] = mapped_column(server_default="0")
    split_at: Mapped[BigInt] = mapped_column(server_default="0")

    __table_args__ = (
        Index(None, "storage_key"),
        # Each claim counts the leases of all projects.
        Index("ix_work_ranges_lease_until", "lease_until", postgresql_where=text(IS_OPEN)),
        # And looks for a range of a list.
        Index("ix_work_ranges_open", "list_id", "first_index", postgresql_where=text(IS_OPEN)),
    )


class WorkResult(Base):
    """The result of one item. The key lets no two processes count an item twice."""

    __tablename__ = "work_results"

    list_id: Mapped[str] = mapped_column(
        ForeignKey("work_lists.id", ondelete="CASCADE"), primary_key=True
    )
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    is_success: Mapped[bool]
    # Compressed by zlib.
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]
