"""Encoders read from their files are what transformers makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from worker.encoding.backbone import (
    find_linear_layers,
    list_full_tuning_parameter_names,
    load_backbone,
)
from worker.encoding.bert_files import load_bert
from worker.encoding.tokenizer import PaddedBatch
from worker.training.encoders.bert import BertEncoder, supports

CPU = torch.device("cpu")


def save(folder: Path) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_equals_the_model_of_transformers(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = save(tmp_path)
    theirs = load_backbone(folder, dtype=dtype, device=CPU, max_length=64)
    ours = load_bert(folder, dtype=dtype, device=CPU)
    assert ours is not None
    assert supports(ours)
    assert (ours.dtype, ours.device) == (theirs.dtype, theirs.device)
    expected = {n: p for n, p in theirs.named_parameters() if "pooler" not in n}
    actual = dict(ours.named_parameters())
    # Their order is that of an optimizer's state.
    assert list(actual) == list(expected)
    for name, weight in expected.items():
        assert torch.equal(actual[name], weight), name
        assert not actual[name].requires_grad
    assert list(find_linear_layers(ours)) == list(find_linear_layers(theirs))
    names = [list_full_tuning_parameter_names(model) for model in (ours, theirs)]
    assert names[0] == names[1]


def test_both_compute_the_same_states(tmp_path: Path) -> None:
    folder = save(tmp_path)
    ids = torch.arange(12).view(2, 6)
    mask = torch.ones(2, 6, dtype=torch.bool)
    batch = PaddedBatch(ids=ids, mask=mask, token_type_ids=ids % 2)
    theirs = load_backbone(folder, dtype=torch.float32, device=CPU, max_length=64)
    ours = load_bert(folder, dtype=torch.float32, device=CPU)
    assert ours is not None
    states = []
    for model in (ours, theirs):
        # All layers are trained.
        names = list_full_tuning_parameter_names(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        with torch.no_grad():
            states.append(BertEncoder(model, torch.float32, None).compute_states(batch))
    assert torch.equal(*states)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "roberta"},
        {"hidden_act": "relu"},
        {"is_decoder": True},
        {"position_embedding_type": "relative_key"},
        {"quantization_config": {}},
        {"num_hidden_layers": 1},
        {"layer_norm_eps": None},
    ],
)
def test_what_it_does_not_know_is_left_to_transformers(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = save(tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert load_bert(tmp_path, dtype=torch.float32, device=CPU) is None


def test_other_weights_are_left_to_transformers(tmp_path: Path) -> None:
    path = save(tmp_path) / "model.safetensors"
    save_file({f"bert.{name}": weight for name, weight in load_file(path).items()}, path)
    assert load_bert(tmp_path, dtype=torch.float32, device=CPU) is None
