"""A fine-tuned encoder in memory: a LoRA adapter or full weights, and its head."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from worker.encoding.backbone import list_full_tuning_parameter_names
from worker.encoding.task import EncoderTask, MissingTask, read_task
from worker.encoding.vocab_coverage import VocabCoverage
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.encoders.multi_lora import EncoderLora
from worker.modeling import load_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, eq=False)
class TunedEncoder:
    """Weights of a fine-tuned encoder.

    lora      the adapter on the shared base model, or None
    backbone  the model, if all of its layers were fine-tuned, or None
    head      weight [outputs, hidden size] and bias [outputs]; None for embeddings
    """

    task: EncoderTask
    lora: EncoderLora | None
    backbone: "PreTrainedModel | None"
    head: tuple[Tensor, Tensor] | None
    # Tokens of the training file; None for models trained before these were stored.
    vocab_coverage: VocabCoverage | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in memory, without the weights shared with the base model."""
        nbytes = 0 if self.lora is None else self.lora.nbytes
        if self.backbone is not None:
            names = list_full_tuning_parameter_names(self.backbone)
            nbytes += sum(p.nbytes for n, p in self.backbone.named_parameters() if n in names)
        return nbytes + sum(tensor.nbytes for tensor in self.head or ())


def load_tuned_encoder(
    folder: Path, base: "PreTrainedModel", layers: Mapping[str, nn.Linear]
) -> TunedEncoder:
    """Load a model fine-tuned from `base`. Raises InvalidAdapter if it does not fit."""
    try:
        task = read_task(folder)
        coverage = task.vocab_coverage
        vocab_coverage = VocabCoverage.from_base64(coverage) if coverage else None
        adapter = load_adapter(folder)
    except (MissingTask, TypeError, ValueError, KeyError) as error:
        raise InvalidAdapter(f"The adapter cannot be served on an encoder: {error}") from error
    tensors = {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in adapter.tensors.items()}
    weight, bias = tensors.pop("head.weight", None), tensors.pop("head.bias", None)
    head = None if weight is None or bias is None else (_copy_float32(weight), _copy_float32(bias))
    dtype, device = base.dtype, base.device
    if task.tuning == "full":
        return TunedEncoder(task, None, _load_full_model(base, tensors), head, vocab_coverage)
    a, b = {}, {}
    for name in _list_targets(adapter.config, layers):
        layer = layers[name]
        try:
            lora_a = tensors.pop(f"{name}.lora_A.weight")
            lora_b = tensors.pop(f"{name}.lora_B.weight")
        except KeyError as error:
            raise InvalidAdapter(f"The adapter lacks {error}.") from error
        if (lora_a.shape[1], lora_b.shape[0]) != (layer.in_features, layer.out_features):
            raise InvalidAdapter(f"The adapter does not match this model: {name}.")
        # Copied even if the dtype matches already: see `_copy_float32`.
        a[name] = lora_a.to(device, dtype, copy=True)
        b[name] = (lora_b * adapter.scaling).to(device, dtype)
    if tensors:
        raise InvalidAdapter(f"The adapter has an unused weight: {min(tensors)}.")
    return TunedEncoder(task, EncoderLora(a, b), None, head, vocab_coverage)


def _list_targets(config: Mapping[str, Any], layers: Mapping[str, nn.Linear]) -> list[str]:
    """List the layers that have an adapter: all, unless the job was created with others."""
    names = config.get("target_modules")
    if not isinstance(names, list):
        return list(layers)
    return [
        path for path in layers if any(path == name or path.endswith(f".{name}") for name in names)
    ]


def _copy_float32(tensor: Tensor) -> Tensor:
    """Copy to float32. A loaded tensor is a view that keeps the whole file in memory."""
    return tensor.to(torch.float32, copy=True)


def _load_full_model(base: "PreTrainedModel", tensors: Mapping[str, Tensor]) -> "PreTrainedModel":
    """Build a fully fine-tuned model that shares the untrained weights with `base`."""
    with torch.device("meta"):
        model: PreTrainedModel = type(base)(base.config)
    base_weights = {name.replace(".base.", "."): p for name, p in base.state_dict().items()}
    tuned_weights = {name: tensor.to(base.device, base.dtype) for name, tensor in tensors.items()}
    if not tuned_weights.keys() <= base_weights.keys():
        raise InvalidAdapter("The model was fine-tuned from another base model.")
    model.load_state_dict({**base_weights, **tuned_weights}, assign=True)
    for name, buffer in base.named_buffers():
        parent, _, name = name.rpartition(".")
        model.get_submodule(parent).register_buffer(name, buffer, persistent=False)
    model.train(False)
    return model
