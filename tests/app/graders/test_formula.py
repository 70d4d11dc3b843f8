"""Formulas of multi graders, as OpenAI documents them."""

import math
from collections.abc import Callable

import pytest

from app.graders.formula import FormulaError, compile_formula, evaluate
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("a", 0.5),
        ("0.7 * a + 0.3 * max(b, 1)", 0.65),
        ("-a ^ 2 + 2^3", 7.75),
        ("floor(1.5) + ceil(1.5) - abs(0 - 1)", 2),
        ("sqrt(4) + log(exp(1)) - min(3, 2, 1)", 2),
        (" (a + b) / 2 ", 0.375),
    ],
)
def test_values(formula: str, value: float) -> None:
    assert math.isclose(evaluate(formula, {"a": 0.5, "b": 0.25}), value)


@pytest.mark.parametrize(
    "formula",
    [
        "c",
        "a +",
        "1 / 0",
        "log(0)",
        "exp(1000)",
        "9 ^ 9 ^ 9",
        "a.real",
        "__import__('os')",
        "[a][0]",
        "a if a else b",
        "max()",
        "'a'",
        "True",
        "a = 1",
        "max(a, key=b)",
        "(" * 400,
    ],
)
def test_invalid_formulas(formula: str) -> None:
    with pytest.raises(FormulaError):
        evaluate(formula, {"a": 0.5, "b": 0.25})


@pytest.mark.parametrize("piece", ["+a", "*(a)", "^a", "-a", "+min(a,a)", "+1.5"])
def test_a47_work_is_linear(piece: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        formula = "a" + piece * size
        # A formula is too short to be measured once.
        return lambda: [compile_formula(formula, {"a"}) for _ in range(50)]

    assert_linear(prepare, size=16, max_size=64)
