"""Log of changes, which triggers of the database write with each change, and its readers.

Numbers are assigned before their transactions commit, so that a reader finds gaps, which are
filled when those commit, or stay if they are rolled back. A position therefore consists of the
newest number and of recent gaps.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import ChangeRecord

MAX_ROWS = 1000
# Longer than a transaction of the service may take.
GAP_SECONDS = 60.0
MAX_GAPS = 1000
RETENTION_SECONDS = 600.0


@dataclass(slots=True)
class LogPosition:
    """Position of a reader. `gaps` are numbers not seen yet, with the time when each was found."""

    newest: int
    gaps: dict[int, float] = field(default_factory=dict)

    def advance(self, seqs: Sequence[int]) -> None:
        """Take the numbers of rows that were read, in ascending order."""
        now = time.monotonic()
        self.gaps = {seq: since for seq, since in self.gaps.items() if since > now - GAP_SECONDS}
        for seq in seqs:
            if seq <= self.newest:
                self.gaps.pop(seq, None)
                continue
            first = max(self.newest + 1, seq - MAX_GAPS)
            self.gaps |= dict.fromkeys(range(first, seq), now)
            self.newest = seq
        for seq in sorted(self.gaps)[:-MAX_GAPS]:
            del self.gaps[seq]


def find_position(session: Session) -> LogPosition:
    """Find the present end of the log, with the gaps before it."""
    newest = select(ChangeRecord.seq).order_by(ChangeRecord.seq.desc()).limit(MAX_ROWS)
    seqs = sorted(session.scalars(newest))
    position = LogPosition(seqs[0] if seqs else 0)
    position.advance(seqs)
    return position


def read_after(session: Session, position: LogPosition) -> Sequence[ChangeRecord]:
    """Read up to MAX_ROWS changes after a position, the oldest first."""
    statement = (
        select(ChangeRecord)
        .where(
            or_(ChangeRecord.seq > position.newest, ChangeRecord.seq.in_(list(position.gaps)))
            if position.gaps
            else ChangeRecord.seq > position.newest
        )
        .order_by(ChangeRecord.seq)
        .limit(MAX_ROWS)
    )
    return session.scalars(statement).all()


def prune(session: Session) -> None:
    """Delete old changes, but for the newest, which says where the log ends."""
    newest = select(func.max(ChangeRecord.seq)).scalar_subquery()
    is_old = ChangeRecord.created_at < clock.seconds_from_now(-RETENTION_SECONDS)
    session.execute(
        delete(ChangeRecord)
        .where(is_old, ChangeRecord.seq < newest)
        .execution_options(synchronize_session=False)
    )
