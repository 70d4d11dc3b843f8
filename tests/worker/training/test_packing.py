"""Packing: sequences of several rows, without loss, in nearly linear time."""

import random
from dataclasses import dataclass

import pytest

from worker.training.packing import pack_rows


@dataclass(frozen=True, eq=False)
class Item:
    num_tokens: int


def items(*lengths: int) -> list[Item]:
    return [Item(length) for length in lengths]


@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_in_one_pack_and_no_pack_is_too_long(seed: int) -> None:
    generator = random.Random(seed)
    rows = items(*(generator.randint(1, 100) for _ in range(500)))
    packs = pack_rows(rows, 100)
    packed = [row for pack in packs for row in pack.rows]
    assert sorted(map(id, packed)) == sorted(map(id, rows))
    sizes = [sum(row.num_tokens for row in pack.rows) for pack in packs]
    assert max(sizes) <= 100
    assert len(packs) <= -(-sum(sizes) // 100) * 1.05, "nearly full"


def test_rows_are_placed_where_they_fit_best() -> None:
    packs = pack_rows(items(60, 30, 70, 40), 100)
    assert [[row.num_tokens for row in pack.rows] for pack in packs] == [[70, 30], [60, 40]]


def test_a_longer_row_is_a_pack_of_its_own() -> None:
    packs = pack_rows(items(150, 10), 100)
    assert [len(pack.rows) for pack in packs] == [1, 1]
