"""Run of a range: what it does while its items cannot be done."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from app.work import leases, range_run
from app.work.kinds import ItemPostponed, ItemResult, RangeClaim, WorkKind
from app.work.range_run import run_range

pytestmark = pytest.mark.anyio
CLAIM = RangeClaim("list", "test", "project", 0, 3, {})


class PartlyAway:
    """A kind of work whose items are postponed for ever, but the first."""

    max_in_flight = 3
    indexes: Sequence[int] = range(3)

    def open_range(self, _: RangeClaim) -> "PartlyAway":
        return self

    async def run(self, index: int, tries: int) -> ItemResult:
        if index:
            raise ItemPostponed
        return ItemResult(index, is_success=True, body=b"", totals={})


async def test_a_range_is_given_back_if_no_result_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the work of others is not held up; what was done is recorded before."""
    monkeypatch.setattr(range_run, "MIN_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(range_run, "MAX_WAIT_SECONDS", 0.1)
    recorded: list[ItemResult] = []
    monkeypatch.setattr(leases, "list_recorded", lambda *_: set())
    monkeypatch.setattr(leases, "record", lambda _, __, done: recorded.extend(done))

    async def transact(work: Any) -> Any:
        return work(None)

    with pytest.raises(ItemPostponed):
        await run_range(cast(WorkKind, PartlyAway()), CLAIM, transact)
    assert [each.index for each in recorded] == [0]
