"""Merged layers: their weights as one matrix."""

import gc
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from worker.training.adapted_linear import stack


class TestStack:
    def test_weights_that_follow_each_other_in_a_file_are_not_copied(self, tmp_path: Path) -> None:
        gate, up = torch.rand(3, 4), torch.rand(2, 4)
        save_file({"gate": gate, "up": up}, tmp_path / "model.safetensors")
        with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
            weights = [file.get_tensor(name) for name in ("gate", "up")]
        stacked = stack(weights)
        assert stacked.data_ptr() == weights[0].data_ptr()
        del weights, file
        gc.collect()
        assert torch.equal(stacked, torch.cat([gate, up])), "it keeps the memory"

    def test_others_are_copied(self) -> None:
        whole = torch.rand(6, 4)
        for parts in ([whole[2:4], whole[:2]], [whole[:2].T, whole[2:4].T], [whole[:1], whole[4:]]):
            assert torch.equal(stack(parts), torch.cat(parts))

    def test_a_single_one_is_itself(self) -> None:
        weight = torch.rand(2, 3)
        assert stack([weight]) is weight
