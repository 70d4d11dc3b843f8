"""Costs: each token once, by its price; training on the day it ended."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from openai import OpenAI
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import MonthlyTrainingUsage, Project, TrainingUsage, UsageKind
from app.usage import ledger
from app.usage.costs import Cost, sum_costs
from app.usage.ledger import UsageCounts, UsageKey
from app.usage.prices import Prices
from app.usage.query import UsageFilter
from app.usage.time_buckets import TimeRange
from tests.factories import make_job
from tests.live_api import Account

DAY = 86_400
NOW = int(time.time())
TIMES = TimeRange(NOW - 40 * DAY, NOW + DAY, DAY)
TUNED = "ft:base:acme::Abcd1234"

PRICES = """
[[price]]
model = "base"
input = 2
cached_input = 1
output = 4
training = 8
batch = 0.5
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return Prices.load(path)


@pytest.fixture
def chosen(account: Account) -> UsageFilter:
    return UsageFilter(organization_id=account.principal.organization_id)


@pytest.fixture
def used(sessions: SessionMaker, account: Account) -> str:
    """Two kinds of requests and the training of two jobs, of which one is deleted."""
    project_id = account.principal.project_id
    live = UsageKey(project_id, "key_1", "base", UsageKind.COMPLETIONS)
    batch = UsageKey(project_id, "key_2", TUNED, UsageKind.COMPLETIONS, is_batch=True)
    with transaction(sessions) as session:
        ledger.record(session, {live: UsageCounts(1, 1000, 400, 100)})
        ledger.record(session, {batch: UsageCounts(1, 1000, 0, 100)})
        job = make_job(session, session.get_one(Project, project_id), base_model="base")
        usage = {"project_id": project_id, "base_model": "base"}
        session.add(TrainingUsage(job_id=job.id, trained_tokens=5000, **usage))
        month = datetime.now(UTC).date().replace(day=1)
        session.add(MonthlyTrainingUsage(month=month, jobs=3, trained_tokens=7000, **usage))
    return project_id


def by_line_item(costs: list[Cost]) -> dict[str | None, tuple[int, Decimal]]:
    found: dict[str | None, tuple[int, Decimal]] = {}
    for cost in costs:
        tokens, amount = found.get(cost.values["line_item"], (0, Decimal(0)))
        found[cost.values["line_item"]] = (tokens + cost.tokens, amount + cost.amount)
    return found


def test_line_items(session: Session, used: str, chosen: UsageFilter, prices: Prices) -> None:
    costs = sum_costs(session, chosen, TIMES, ["line_item"], prices)
    million = Decimal(1_000_000)
    assert by_line_item(costs) == {
        "base, input_tokens": (600, 1200 / million),
        "base, cached_input_tokens": (400, 400 / million),
        "base, output_tokens": (100, 400 / million),
        f"{TUNED}, batch_input_tokens": (1000, 1000 / million),
        f"{TUNED}, batch_output_tokens": (100, 200 / million),
        "base, training_tokens": (12000, 96000 / million),
    }
    chosen_items = ["base, output_tokens", "base, training_tokens"]
    some = sum_costs(session, chosen, TIMES, ["line_item"], prices, chosen_items)
    assert sorted(by_line_item(some)) == sorted(chosen_items)


def test_groups_sum_to_the_whole(
    session: Session, used: str, chosen: UsageFilter, prices: Prices
) -> None:
    whole = sum(cost.amount for cost in sum_costs(session, chosen, TIMES, [], prices))
    assert whole == Decimal("0.0992")
    for group_by in (["project_id"], ["api_key_id"], ["api_key_id", "line_item"]):
        costs = sum_costs(session, chosen, TIMES, group_by, prices)
        assert sum(cost.amount for cost in costs) == whole
    keys = sum_costs(session, chosen, TIMES, ["api_key_id"], prices)
    # Of training no key is known.
    assert {cost.values["api_key_id"] for cost in keys} == {"key_1", "key_2", None}


def test_without_prices_tokens_are_counted(admin: OpenAI, used: str) -> None:
    page = admin.admin.organization.usage.costs(
        start_time=TIMES.start, limit=60, group_by=["line_item", "project_id"], project_ids=[used]
    )
    results = [result for bucket in page.data for result in bucket.results]
    assert {result.project_id for result in results} == {used}
    assert all(result.amount.value == 0 and result.amount.currency == "usd" for result in results)
    training = [each for each in results if each.line_item == "base, training_tokens"]
    assert sum(each.quantity for each in training) == 12000
