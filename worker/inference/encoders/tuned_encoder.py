"""A tuned encoder in memory: its adapter or its own layers, and its head."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from worker.encoding.backbone import full_tuning_parameter_names
from worker.encoding.task import EncoderTask, MissingTask, read_task
from worker.encoding.vocab_coverage import VocabCoverage
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.encoders.multi_lora import EncoderLora
from worker.modeling import load_adapter

PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, eq=False)
class TunedEncoder:
    """`lora` for an adapter on the shared base, `backbone` for a model all of whose layers are
    its own; `head` weight [outputs, width] and bias [outputs], or None for embeddings."""

    task: EncoderTask
    lora: EncoderLora | None
    backbone: PreTrainedModel | None
    head: tuple[Tensor, Tensor] | None
    # The tokens of its training file; None for models of before they were kept.
    vocab_coverage: VocabCoverage | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in memory beside the shared base."""
        own = 0 if self.lora is None else self.lora.nbytes
        if self.backbone is not None:
            names = full_tuning_parameter_names(self.backbone)
            own += sum(p.nbytes for n, p in self.backbone.named_parameters() if n in names)
        return own + sum(tensor.nbytes for tensor in self.head or ())


def load_tuned_encoder(
    folder: Path, base: PreTrainedModel, layers: Mapping[str, nn.Linear]
) -> TunedEncoder:
    """Load what a job has made of `base`. Raises AdapterRefused if it does not fit."""
    try:
        task = read_task(folder)
        familiar = VocabCoverage.from_base64(task.vocab_coverage) if task.vocab_coverage else None
        adapter = load_adapter(folder)
    except (MissingTask, TypeError, ValueError, KeyError) as error:
        raise InvalidAdapter(f"The adapter cannot be served on an encoder: {error}") from error
    tensors = {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in adapter.tensors.items()}
    weight, bias = tensors.pop("head.weight", None), tensors.pop("head.bias", None)
    head = None if weight is None or bias is None else (_copy_float32(weight), _copy_float32(bias))
    dtype, device = base.dtype, base.device
    if task.tuning == "full":
        return TunedEncoder(task, None, _load_full_model(base, tensors), head, familiar)
    a, b = {}, {}
    for name, layer in layers.items():
        try:
            down = tensors.pop(f"{name}.lora_A.weight")
            up = tensors.pop(f"{name}.lora_B.weight")
        except KeyError as error:
            raise InvalidAdapter(f"The adapter lacks {error}.") from error
        if (down.shape[1], up.shape[0]) != (layer.in_features, layer.out_features):
            raise InvalidAdapter(f"The adapter does not fit this model: {name}.")
        # Copied where it has the dtype already, too: see `_kept`.
        a[name] = down.to(device, dtype, copy=True)
        b[name] = (up * adapter.scaling).to(device, dtype)
    if tensors:
        raise InvalidAdapter(f"The adapter has a weight that nothing uses: {min(tensors)}.")
    return TunedEncoder(task, EncoderLora(a, b), None, head, familiar)


def _copy_float32(tensor: Tensor) -> Tensor:
    """A copy in float32. What was read is a piece of the whole file's memory, which would stay."""
    return tensor.to(torch.float32, copy=True)


def _load_full_model(base: PreTrainedModel, tensors: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model of its own, that shares with `base` what was not trained."""
    with torch.device("meta"):
        own: PreTrainedModel = type(base)(base.config)
    shared = {name.replace(".base.", "."): p for name, p in base.state_dict().items()}
    trained = {name: tensor.to(base.device, base.dtype) for name, tensor in tensors.items()}
    if not trained.keys() <= shared.keys():
        raise InvalidAdapter("The model was made from another base.")
    own.load_state_dict({**shared, **trained}, assign=True)
    for name, buffer in base.named_buffers():
        parent, _, last = name.rpartition(".")
        own.get_submodule(parent).register_buffer(last, buffer, persistent=False)
    own.train(False)
    return own
