"""The ledger of usage: sums of processes, folded into hours."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import DatabaseUnavailable, SessionMaker
from app.db.tables import TokenUsage, UsageKind
from app.monitoring.recorder import TrafficRecorder
from app.usage import ledger
from app.usage.ledger import UsageCounts, UsageKey

KEY = UsageKey("proj_1", "key_1", "base", UsageKind.COMPLETIONS)
COUNTS = UsageCounts(1, 10, 4, 3)


def total(session: Session) -> tuple[int, ...]:
    columns = (
        TokenUsage.requests,
        TokenUsage.input_tokens,
        TokenUsage.cached_tokens,
        TokenUsage.output_tokens,
    )
    return tuple(map(int, session.execute(select(*map(func.sum, columns))).one()))


def age(session: Session, days: float) -> None:
    moved = TokenUsage.started_at - timedelta(days=days)
    session.execute(update(TokenUsage).values(started_at=moved))


def test_batches_of_processes_add_up(session: Session) -> None:
    other = UsageKey("proj_1", "key_1", "base", UsageKind.COMPLETIONS, is_batch=True)
    for _ in range(3):
        ledger.record(session, {KEY: COUNTS, other: UsageCounts(2, 1, 0, 1)})
    assert total(session) == (9, 33, 12, 12)
    assert session.scalars(select(func.count()).select_from(TokenUsage)).one() <= 4


def test_old_minutes_become_hours_with_the_same_sum(session: Session) -> None:
    ledger.record(session, {KEY: COUNTS})
    for minutes in range(1, 70):
        age(session, 1 / 24 / 60)
        if minutes % 10 == 0:
            ledger.record(session, {KEY: COUNTS})
    age(session, 9)
    ledger.record(session, {KEY: COUNTS})
    before = total(session)
    while ledger.fold_minutes(session, limit=3):
        pass
    assert total(session) == before
    rows = session.scalars(select(TokenUsage.started_at).order_by(TokenUsage.started_at)).all()
    *old, recent = rows
    assert 2 <= len(old) <= 3
    assert all(moment.minute == 0 for moment in old), old
    assert clock.now(session) - recent < timedelta(minutes=2)


def test_what_could_not_be_written_is_written_later(
    sessions: SessionMaker, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = TrafficRecorder(sessions)
    recorder.record_usage(KEY, COUNTS)

    def fail(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record", fail)
        with pytest.raises(DatabaseUnavailable):
            recorder.flush()
    recorder.record_usage(KEY, COUNTS)
    recorder.flush()
    recorder.flush()
    assert total(session) == (2, 20, 8, 6)
