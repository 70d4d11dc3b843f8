"""Sequence packing: no token is lost, none is padded, and a shared prefix is stored once."""

import numpy as np
import pytest
import torch

from worker.training.batching import MicroBatch, Row, collate, split_by_tokens

CPU = torch.device("cpu")


def row(ids: list[int], label_positions: list[int]) -> Row:
    return Row(np.array(ids, dtype=np.int32), np.array(label_positions, dtype=np.int32))


def random_rows(seed: int, *, shared: int, count: int = 7) -> list[Row]:
    """Rows of 3 to 90 tokens after a common prefix of `shared`, with some label positions."""
    random = np.random.default_rng(seed)
    head = random.integers(5, 99, shared)
    rows = []
    for length in sorted(random.integers(3, 90, count)):
        ids = np.concatenate([head, random.integers(100, 999, length)]).astype(np.int32)
        label_positions = np.unique(random.integers(1, len(ids), 4)).astype(np.int32)
        rows.append(Row(ids, label_positions))
    return sorted(rows, key=lambda row: row.num_tokens)


def padded_rows(batch: MicroBatch) -> list[list[int]]:
    """Tokens of each row as attention sees them, with padding."""
    return [line.tolist() for block in batch.pad_indices for line in batch.ids[block]]


class TestSplit:
    def test_groups_respect_both_limits_and_keep_all_rows(self) -> None:
        rows = random_rows(0, shared=0, count=40)
        groups = list(split_by_tokens(rows, max_tokens=150, max_rows=4))
        assert sum(map(len, groups)) == 40
        for group in groups:
            assert len(group) <= 4
            assert sum(row.num_tokens for row in group) <= 150
        lengths = [row.num_tokens for group in groups for row in group]
        assert lengths == sorted(lengths)

    def test_a_row_over_the_limit_is_a_group_of_its_own(self) -> None:
        long, short = row(list(range(50)), [49]), row([1, 2], [1])
        assert list(split_by_tokens([long, short, short], max_tokens=10)) == [
            [short, short],
            [long],
        ]


class TestCollate:
    @pytest.mark.parametrize("shared", [0, 12])
    @pytest.mark.parametrize("seed", range(5))
    def test_blocks_contain_each_row_unchanged(self, seed: int, shared: int) -> None:
        rows = random_rows(seed, shared=shared)
        seen = padded_rows(collate(rows, CPU))
        for row, line in zip(rows, seen, strict=True):
            assert line[: row.num_tokens] == row.ids[: row.num_tokens].tolist()

    @pytest.mark.parametrize("shared", [0, 12])
    def test_each_label_is_predicted_from_the_previous_token(self, shared: int) -> None:
        rows = random_rows(1, shared=shared)
        batch = collate(rows, CPU)
        before = [row.ids[at - 1] for row in rows for at in row.label_positions]
        positions = [at - 1 for row in rows for at in row.label_positions]
        assert batch.ids[batch.logit_positions].tolist() == before
        assert batch.positions[batch.logit_positions].tolist() == positions
        assert batch.labels.tolist() == [row.ids[at] for row in rows for at in row.label_positions]

    def test_a_common_prefix_is_stored_once(self) -> None:
        rows = random_rows(2, shared=12)
        own = sum(row.num_tokens - 12 for row in rows)
        assert len(collate(rows, CPU).ids) <= 12 + own
        apart = collate(rows, CPU, share_prefix=False)
        assert apart.shared == ()
        assert len(apart.ids) == sum(row.num_tokens for row in rows)

    def test_each_prompt_of_several_is_stored_once(self) -> None:
        """Two pairs with prompts of their own after a system prompt of 10 tokens."""
        system = list(range(10))
        rows = [
            row([*system, *range(prompt, prompt + 20), answer, answer + 1, 7], [31, 32])
            for prompt in (100, 200)
            for answer in (300, 400)
        ]
        batch = collate(rows, CPU)
        assert len(batch.ids) == 10 + 2 * 20 + 4 * 2
        assert [tuple(shared.slots.shape) for shared in batch.shared] == [(2, 40), (4, 10)]
        slot_tokens = torch.cat([block.flatten() for block in batch.pad_indices])
        for shared in batch.shared:
            assert torch.equal(slot_tokens[shared.slots], shared.tokens.expand_as(shared.slots))

    def test_equal_rows_share_one_stream_and_keep_all_labels(self) -> None:
        batch = collate([row([5, 6, 7, 8, 9], [3, 4])] * 3, CPU)
        assert batch.ids.tolist() == [5, 6, 7, 8]
        assert batch.labels.tolist() == [8, 9] * 3
        assert batch.logit_positions.tolist() == [2, 3] * 3

    @pytest.mark.parametrize("shared", [0, 12])
    def test_unpadding_inverts_padding(self, shared: int) -> None:
        batch = collate(random_rows(3, shared=shared), CPU)
        slots = torch.cat([block.flatten() for block in batch.pad_indices])
        assert slots[batch.unpad_index].tolist() == list(range(len(batch.ids)))

    def test_rows_of_different_lengths_are_padded_in_separate_blocks(self) -> None:
        rows = [row(list(range(10)), [9]), row(list(range(100)), [99])]
        shapes = [tuple(block.shape) for block in collate(rows, CPU).pad_indices]
        assert shapes == [(1, 16), (1, 104)]
