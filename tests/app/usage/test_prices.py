"""Prices of the operator: of a model, its base model or all; errors of the file."""

from decimal import Decimal
from pathlib import Path

import pytest

from app.usage.prices import InvalidPrices, LineItem, Prices

PRICES = """
currency = "eur"
[[price]]
model = "base"
input = 2.0
cached_input = 0.5
output = 8.0
training = 3.0
batch = 0.5
[[price]]
model = "ft:base:acme::Abcd1234"
output = 10
[[price]]
input = 1
"""
MILLION = 1_000_000


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return Prices.load(path)


@pytest.mark.parametrize(
    ("model", "item", "cost"),
    [
        ("base", LineItem.INPUT, "2"),
        ("base", LineItem.CACHED_INPUT, "0.5"),
        ("base", LineItem.BATCH_CACHED_INPUT, "0.25"),
        ("base", LineItem.BATCH_OUTPUT, "4"),
        ("base", LineItem.TRAINING, "3"),
        ("ft:base:acme:mine:Wxyz9876", LineItem.OUTPUT, "8"),
        ("ft:base:acme::Abcd1234", LineItem.OUTPUT, "10"),
        ("ft:base:acme::Abcd1234", LineItem.INPUT, "0"),
        ("other", LineItem.INPUT, "1"),
        # Without a price of its own, cached input costs what other input does.
        ("other", LineItem.CACHED_INPUT, "1"),
    ],
)
def test_cost_of_a_million_tokens(prices: Prices, model: str, item: LineItem, cost: str) -> None:
    assert prices.cost(model, item, MILLION) == Decimal(cost)
    assert prices.currency == "eur"


def test_without_a_file_everything_costs_nothing() -> None:
    assert Prices.load(None).cost("base", LineItem.INPUT, MILLION) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("currency = 'euros'", "currency"),
        ("[[price]]\ninput = -1", "input"),
        ("[[price]]\ninputs = 1", "inputs"),
        ("[[price]]\n[[price]]", "two prices"),
        ("[[price", "at end of document"),
    ],
)
def test_errors_name_the_file_and_the_place(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(InvalidPrices, match=reason) as error:
        Prices.load(path)
    assert str(path) in str(error.value)
