"""A fine-tuned encoder or classifier in memory: its backbone with the trained weights, its head."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging
from transformers.utils.logging import disable_progress_bar

from worker.encoding.backbone import find_linear_layers
from worker.encoding.tags import bio_tag_names
from worker.encoding.task import EncoderTask
from worker.exporting.source import ExportSource
from worker.modeling import ADAPTER_WEIGHTS_FILE, load_adapter, load_tokenizer

PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True)
class EncoderModel:
    """`head` is a linear layer in float32, or None for embeddings."""

    backbone: PreTrainedModel
    head: nn.Linear | None
    task: EncoderTask
    tokenizer: PreTrainedTokenizerBase

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the head's outputs."""
        if self.task.method == "token_classification":
            return bio_tag_names(self.task.labels)
        return self.task.labels


def load_encoder(source: ExportSource) -> EncoderModel:
    """Load the base model in float32 and put the trained weights into it."""
    disable_progress_bar()
    logging.set_verbosity_error()
    task = source.task
    assert task is not None
    backbone: PreTrainedModel = AutoModel.from_pretrained(
        source.base_folder,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="eager",
    )
    tensors = {
        name.removeprefix(PEFT_PREFIX): tensor.float()
        for name, tensor in load_file(source.adapter_folder / ADAPTER_WEIGHTS_FILE).items()
    }
    weight, bias = tensors.pop("head.weight", None), tensors.pop("head.bias", None)
    head = None if weight is None or bias is None else _make_head(weight, bias)
    if task.tuning == "full":
        backbone.load_state_dict(tensors, strict=False)
    else:
        _merge_lora(backbone, tensors, load_adapter(source.adapter_folder).scaling)
    backbone.train(False)
    tokenizer = load_tokenizer(source.base_folder)
    tokenizer.model_max_length = min(task.max_length, tokenizer.model_max_length)
    return EncoderModel(backbone, head, task, tokenizer)


@torch.no_grad()
def _merge_lora(backbone: PreTrainedModel, tensors: dict[str, Tensor], scaling: float) -> None:
    for name, layer in find_linear_layers(backbone).items():
        if f"{name}.lora_A.weight" not in tensors:
            continue
        a, b = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]
        layer.weight += scaling * (b @ a)


def _make_head(weight: Tensor, bias: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return head
