"""The best weights so far, as checkpoints keep them."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from worker.training.best_weights import BestWeights


class OneWeight:
    """Trainable weights with one parameter."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.zeros(2))

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return {"weight": self.weight}

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def load(self, folder: Path) -> None:
        raise NotImplementedError


def test_a_resumed_run_knows_the_best_epoch_and_the_bad_ones_since(tmp_path: Path) -> None:
    weights = OneWeight()
    before = BestWeights(weights, "valid_f1", patience=2)
    before.update(1, {"valid_f1": 0.5})
    before.update(2, {"valid_f1": 0.4})
    before.save(tmp_path)
    weights.weight.data.fill_(1)
    after = BestWeights(weights, "valid_f1", patience=2)
    after.load(tmp_path)
    assert not after.is_out_of_patience
    after.update(3, {"valid_f1": 0.5})
    assert after.is_out_of_patience, "the epoch before the interruption counts"
    after.restore()
    assert weights.weight.tolist() == [0, 0]


@pytest.mark.parametrize("bad_epochs", [1, 2])
def test_checkpoints_of_versions_before_0_1_0_are_read(tmp_path: Path, bad_epochs: int) -> None:
    (tmp_path / "best.json").write_text(json.dumps({"value": 0.5, "in_vain": bad_epochs}))
    save_file({"weight": torch.ones(2)}, tmp_path / "best.safetensors")
    weights = OneWeight()
    best_weights = BestWeights(weights, "valid_f1", patience=2)
    best_weights.load(tmp_path)
    assert best_weights.is_out_of_patience == (bad_epochs == 2)
    best_weights.update(3, {"valid_f1": 0.4})
    assert best_weights.is_out_of_patience
    best_weights.restore()
    assert weights.weight.tolist() == [1, 1]
