"""A tuned encoder in memory: its adapter or its own layers, and its head."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from worker.encoding.backbone import own_layers
from worker.encoding.task import NoTask, Task, read_task
from worker.encoding.vocab_coverage import Familiar
from worker.inference.adapter_format import AdapterRefused
from worker.inference.encoders.multi_lora import Lora
from worker.modeling import load_adapter

PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """`lora` for an adapter on the shared base, `backbone` for a model all of whose layers are
    its own; `head` weight [outputs, width] and bias [outputs], or None for embeddings."""

    task: Task
    lora: Lora | None
    backbone: PreTrainedModel | None
    head: tuple[Tensor, Tensor] | None
    # The tokens of its training file; None for models of before they were kept.
    familiar: Familiar | None = None

    @property
    def size(self) -> int:
        """Bytes in memory beside the shared base."""
        own = 0 if self.lora is None else self.lora.size
        if self.backbone is not None:
            names = own_layers(self.backbone)
            own += sum(p.nbytes for n, p in self.backbone.named_parameters() if n in names)
        return own + sum(tensor.nbytes for tensor in self.head or ())


def read_tuned(folder: Path, base: PreTrainedModel, layers: Mapping[str, nn.Linear]) -> Tuned:
    """Load what a job has made of `base`. Raises AdapterRefused if it does not fit."""
    try:
        task = read_task(folder)
        familiar = Familiar.from_text(task.familiar) if task.familiar else None
        adapter = load_adapter(folder)
    except (NoTask, TypeError, ValueError, KeyError) as error:
        raise AdapterRefused(f"The adapter cannot be served on an encoder: {error}") from error
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in adapter.tensors.items()}
    weight, bias = tensors.pop("head.weight", None), tensors.pop("head.bias", None)
    head = None if weight is None or bias is None else (_kept(weight), _kept(bias))
    dtype, device = base.dtype, base.device
    if task.tuning == "full":
        return Tuned(task, None, _own_layers(base, tensors), head, familiar)
    a, b = {}, {}
    for name, layer in layers.items():
        try:
            down = tensors.pop(f"{name}.lora_A.weight")
            up = tensors.pop(f"{name}.lora_B.weight")
        except KeyError as error:
            raise AdapterRefused(f"The adapter lacks {error}.") from error
        if (down.shape[1], up.shape[0]) != (layer.in_features, layer.out_features):
            raise AdapterRefused(f"The adapter does not fit this model: {name}.")
        # Copied where it has the dtype already, too: see `_kept`.
        a[name] = down.to(device, dtype, copy=True)
        b[name] = (up * adapter.scaling).to(device, dtype)
    if tensors:
        raise AdapterRefused(f"The adapter has a weight that nothing uses: {min(tensors)}.")
    return Tuned(task, Lora(a, b), None, head, familiar)


def _kept(tensor: Tensor) -> Tensor:
    """A copy in float32. What was read is a piece of the whole file's memory, which would stay."""
    return tensor.to(torch.float32, copy=True)


def _own_layers(base: PreTrainedModel, tensors: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model of its own, that shares with `base` what was not trained."""
    with torch.device("meta"):
        own: PreTrainedModel = type(base)(base.config)
    shared = {name.replace(".base.", "."): p for name, p in base.state_dict().items()}
    trained = {name: tensor.to(base.device, base.dtype) for name, tensor in tensors.items()}
    if not trained.keys() <= shared.keys():
        raise AdapterRefused("The model was made from another base.")
    own.load_state_dict({**shared, **trained}, assign=True)
    for name, buffer in base.named_buffers():
        parent, _, last = name.rpartition(".")
        own.get_submodule(parent).register_buffer(last, buffer, persistent=False)
    own.train(False)
    return own
