"""The table of attacks: each number has a row, and each row a test."""

import re
from pathlib import Path

import pytest

from tests.security.attacks import attacks_of, listed_attacks

TESTS = Path(__file__).parents[1]
DEFINITION = re.compile(r"^ *(?:class|(?:async )?def) (TestA\d\w*|test_a\d\w*)", re.MULTILINE)


def test_every_attack_is_listed_once() -> None:
    listed = listed_attacks()
    assert listed == list(range(1, len(listed) + 1))


def test_every_listed_attack_has_a_test() -> None:
    names = [
        name
        for path in TESTS.rglob("test_*.py")
        for name in DEFINITION.findall(path.read_text(encoding="utf-8"))
    ]
    tested = set().union(*(attacks_of(f"::{name}") for name in names))
    assert set(listed_attacks()) - tested == set()


@pytest.mark.parametrize(
    ("nodeid", "numbers"),
    [
        ("tests/x.py::test_a45_long_path", {45}),
        ("tests/x.py::test_a45_long_path[::test_a1_]", {45}),
        ("tests/x.py::test_a34_a35_hostile_ids", {34, 35}),
        ("tests/x.py::test_a1_to_a7_tenants", {1, 2, 3, 4, 5, 6, 7}),
        ("tests/x.py::TestA8Broken::test_no_key", {8}),
        ("tests/x.py::TestAdapters::test_a_model", set()),
        ("tests/a5_x.py::test_answer", set()),
    ],
)
def test_numbers_of_a_test(nodeid: str, numbers: set[int]) -> None:
    assert attacks_of(nodeid) == numbers
