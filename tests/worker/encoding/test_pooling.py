"""Pooling as sentence-transformers' configs say it, compared with sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling as TheirPooling

from app.catalog import ModelKind
from worker.encoding.pooling import POOLING_MODES, pool, read_pooling
from worker.model_cache import ModelUnavailable

# What BGE's and Arctic's repositories have, and what MiniLM's has.
CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "1_Pooling").mkdir()
    text = json.dumps({"word_embedding_dimension": 8, **config})
    (folder / "1_Pooling" / "config.json").write_text(text)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        (CLS, "cls"), (MEAN, "mean"), ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"), ({"pooling_mode": ["lasttoken"]}, "last"),
    ],
)  # fmt: skip
def test_reads_the_models_own_pooling(tmp_path: Path, config: dict[str, Any], pooling: str) -> None:
    write_config(tmp_path, config)
    assert read_pooling(tmp_path, ModelKind.ENCODER) == pooling


def test_a_model_without_a_config_takes_the_mean_or_the_last_token(tmp_path: Path) -> None:
    assert read_pooling(tmp_path, ModelKind.ENCODER) == "mean"
    assert read_pooling(tmp_path, ModelKind.CAUSAL) == "last"


@pytest.mark.parametrize(
    "config", [{"pooling_mode_max_tokens": True}, {**CLS, **MEAN, "pooling_mode_cls_token": True}]
)
def test_another_pooling_makes_the_model_unavailable(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    write_config(tmp_path, config)
    with pytest.raises(ModelUnavailable, match="pools by"):
        read_pooling(tmp_path, ModelKind.ENCODER)


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_vectors_equal_those_of_sentence_transformers(mode: str) -> None:
    hidden = torch.randn(3, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    theirs = TheirPooling(8, pooling_mode=mode)
    expected = theirs({"token_embeddings": hidden, "attention_mask": mask})["sentence_embedding"]
    torch.testing.assert_close(pool(hidden, mask.bool(), POOLING_MODES[mode]), expected)
