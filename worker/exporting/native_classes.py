"""Whole encoders in transformers' own classes for their task, loadable without code of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from app.logs import get_logger
from worker.encoding.pooling import pool
from worker.exporting.encoder_model import EncoderModel
from worker.exporting.equivalent_heads import HeadLayout, configure, fill, find_layout
from worker.exporting.errors import UnsupportedExport
from worker.exporting.source import ExportSource

AUTO_CLASSES: dict[str, Any] = {
    "classification": AutoModelForSequenceClassification,
    "token_classification": AutoModelForTokenClassification,
    "question_answering": AutoModelForQuestionAnswering,
}
# Of the classes whose head is one linear layer on each state: transformers' name and PEFT's.
LINEAR_HEADS = {
    "token_classification": ("TokenClassification", "TOKEN_CLS"),
    "question_answering": ("QuestionAnswering", "QUESTION_ANS"),
}
# Relative to the largest logit.
TOLERANCE = 1e-4

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NativeHead:
    """Head of one of transformers' classes: a linear layer, directly on the backbone's states.

    name    its name in the model
    prefix  the backbone's name in the model
    """

    auto_name: str
    task_type: str
    name: str
    prefix: str


def find_native_head(source: ExportSource) -> NativeHead | None:
    """Find where transformers' class for the task has its head; None if it has more layers."""
    task = source.task
    if task is None or task.method not in LINEAR_HEADS:
        return None
    config = AutoConfig.from_pretrained(
        source.base_folder, local_files_only=True, trust_remote_code=False
    )
    config.num_labels = 2
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AUTO_CLASSES[task.method].from_config(
                config, trust_remote_code=False
            )
    except ValueError:
        # This architecture has no class for the task.
        return None
    prefix = model.base_model_prefix
    own = [name for name, _ in model.named_parameters() if not name.startswith(f"{prefix}.")]
    layers = {name.rpartition(".")[0] for name in own}
    if len(layers) != 1 or not isinstance(model.get_submodule(min(layers)), torch.nn.Linear):
        return None
    return NativeHead(*LINEAR_HEADS[task.method], min(layers), prefix)


def write_linear(model: EncoderModel, native: NativeHead, output: Path) -> None:
    """Write a model whose class has a head like ours."""
    assert model.head is not None
    weights = model.head.state_dict()
    whole = _build(model, lambda whole: whole.get_submodule(native.name).load_state_dict(weights))
    whole.save_pretrained(output)


def write_equivalent(model: EncoderModel, output: Path) -> bool:
    """Write a model whose class has further layers, if they can be made to change nothing.

    Returns False if they cannot.
    """
    task, config = model.task, model.backbone.config
    assert model.head is not None
    layout = find_layout(config, task.method, task.pooling, model.head.out_features)
    if layout is None:
        return False
    configure(config, layout, task.pooling)
    whole = _build(model, _filler(model, layout))
    difference = measure_difference(model, whole)
    if difference > TOLERANCE:
        log.warning("export.head_not_equivalent", type=config.model_type, difference=difference)
        return False
    whole.save_pretrained(output)
    return True


def _filler(model: EncoderModel, layout: HeadLayout) -> Callable[[PreTrainedModel], object]:
    head = model.head
    assert head is not None
    return lambda whole: fill(whole, layout, head)


def _build(model: EncoderModel, fill_head: Callable[[PreTrainedModel], object]) -> PreTrainedModel:
    """Build transformers' class with the backbone's weights. Raises UnsupportedExport."""
    config = model.backbone.config
    whole: PreTrainedModel = AUTO_CLASSES[model.task.method].from_config(
        config, trust_remote_code=False
    )
    backbone = whole.get_submodule(whole.base_model_prefix)
    missing = backbone.load_state_dict(model.backbone.state_dict(), strict=False).missing_keys
    if missing:
        raise UnsupportedExport(f"The model lacks the weight {missing[0]} of transformers' class.")
    fill_head(whole)
    whole.train(False)
    return whole


@torch.no_grad()
def measure_difference(model: EncoderModel, whole: PreTrainedModel) -> float:
    """Largest difference of logits on random tokens, relative to the largest logit."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(model.backbone.config.vocab_size, (4, 24), generator=random)
    mask = torch.ones_like(ids)
    mask[1:, 13:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    expected = _compute_logits(model, inputs)
    outputs: Any = whole(**inputs)
    if model.task.method == "question_answering":
        actual = torch.stack([outputs.start_logits, outputs.end_logits], -1)
    else:
        actual = outputs.logits
    if expected.dim() == 3:
        expected, actual = expected[mask.bool()], actual[mask.bool()]
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1))


def _compute_logits(model: EncoderModel, inputs: dict[str, Tensor]) -> Tensor:
    states = model.backbone(**inputs).last_hidden_state
    assert model.head is not None
    if model.task.method == "classification":
        states = pool(states, inputs["attention_mask"], model.task.pooling)
    logits: Tensor = model.head(states)
    return logits
