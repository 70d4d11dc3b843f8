"""Heads of transformers' own classes that compute what one linear layer does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from tests.worker.conftest import words_tokenizer
from worker.encoding.task import EncoderTask
from worker.exporting import equivalent_heads
from worker.exporting.encoder_model import EncoderModel
from worker.exporting.equivalent_heads import SEQUENCE_LAYOUTS, HeadKind, find_layout
from worker.exporting.native_classes import AUTO_CLASSES, measure_difference, write_equivalent

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "deberta": {"relative_attention": True, "pos_att_type": "c2p|p2c"},
    "deberta-v2": {"relative_attention": True, "pos_att_type": "c2p|p2c"},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "electra": {"embedding_size": 16},
    "modernbert": {"num_hidden_layers": 3, "bos_token_id": 0, "cls_token_id": 0}
    | {"eos_token_id": 2, "sep_token_id": 2, "reference_compile": False},
}
CASES = [(model_type, "classification", "cls") for model_type in SEQUENCE_LAYOUTS] + [
    ("modernbert", "classification", "mean"),
    ("modernbert", "token_classification", "mean"),
    ("modernbert", "question_answering", "mean"),
]


def make(model_type: str, method: Any, pooling: Any, *, num_outputs: int = 3) -> EncoderModel:
    """A model with large weights, whose logits are far apart."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SIZES | OWN_SIZES.get(model_type, {}))
    backbone = AutoModel.from_config(config, attn_implementation="eager").train(False)
    head = nn.Linear(config.hidden_size, num_outputs)
    nn.init.normal_(head.weight, std=2.0)
    nn.init.normal_(head.bias, std=2.0)
    task = EncoderTask(method=method, labels=("a", "b", "c"), pooling=pooling)
    return EncoderModel(backbone, head, task, words_tokenizer(token_types=False))


@pytest.mark.parametrize(("model_type", "method", "pooling"), CASES)
def test_transformers_own_class_computes_the_same(
    tmp_path: Path, model_type: str, method: str, pooling: str
) -> None:
    if method == "question_answering":
        model = make(model_type, method, pooling, num_outputs=2)
    else:
        model = make(model_type, method, pooling)
        model.backbone.config.id2label = {0: "a", 1: "b", 2: "c"}
    assert write_equivalent(model, tmp_path)
    loaded = AUTO_CLASSES[method].from_pretrained(tmp_path, attn_implementation="eager")
    assert not hasattr(loaded.config, "auto_map")
    assert measure_difference(model, loaded) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["bert", "distilbert", "modernbert"])
def test_it_does_so_in_sixteen_bits(tmp_path: Path, model_type: str, dtype: torch.dtype) -> None:
    """As far as the states have that precision."""
    model = make(model_type, "classification", "cls")
    model.backbone.config.id2label = {0: "a", 1: "b", 2: "c"}
    assert write_equivalent(model, tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, attn_implementation="eager", dtype=dtype
    )
    assert measure_difference(model, loaded) < 0.05


@pytest.mark.parametrize(
    ("model_type", "pooling", "num_outputs"),
    [
        ("bert", "mean", 3),
        ("distilbert", "cls", 17),
        ("modernbert", "cls", 16),
        ("gpt2", "last", 3),
    ],
)
def test_what_a_class_cannot_express_needs_our_own(
    model_type: str, pooling: str, num_outputs: int
) -> None:
    """Another pooling, or more labels than half of the width."""
    config = AutoConfig.for_model(model_type, **SIZES | OWN_SIZES.get(model_type, {}))
    assert find_layout(config, "classification", pooling, num_outputs) is None
    if pooling == "cls":
        assert find_layout(config, "classification", pooling, num_outputs - 1) is not None


def test_a_class_that_computes_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose layers a new version of transformers has changed."""
    wrong = equivalent_heads.HeadLayout(HeadKind.PAIRED, "bert.pooler.dense", "classifier")
    monkeypatch.setattr(equivalent_heads, "SEQUENCE_LAYOUTS", {"bert": wrong})
    model = make("bert", "classification", "cls")
    model.backbone.config.id2label = {0: "a", 1: "b", 2: "c"}
    assert not write_equivalent(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
