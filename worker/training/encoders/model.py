"""A backbone with a head, and which of its weights are trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from worker.encoding.backbone import hidden_states, linear_layers, own_layers, pooled
from worker.encoding.task import KEY, Task
from worker.encoding.tokenizer import Batch, Reader, Text
from worker.modeling import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_adapter
from worker.training.lora import lora_linear

# What the names of weights begin with in an adapter, as PEFT has it.
PREFIX = "base_model.model."
HEAD_STD = 0.02
HEAD_DROPOUT = 0.1


class LoraLinear(nn.Module):
    """A frozen linear layer with a trained LoRA in float32. A is random, B is zero."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: int) -> None:
        super().__init__()
        self.base = base
        self.scaling = alpha / rank
        place = base.weight.device
        self.a = nn.Parameter(torch.empty(rank, base.in_features, device=place))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank, device=place))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]"""
        a, b = self.a.to(x.dtype), self.b.to(x.dtype)
        flat = x.reshape(-1, x.shape[-1])
        out = lora_linear(flat, self.base.weight, self.base.bias, a, b, self.scaling)
        return out.view(*x.shape[:-1], out.shape[-1])


class Encoder(nn.Module):
    """`backbone` in `dtype` arithmetic, `head` in float32."""

    def __init__(
        self, backbone: PreTrainedModel, task: Task, reader: Reader, *, outputs: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.task = task
        self.reader = reader
        self.device = backbone.device
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.head = nn.Linear(backbone.config.hidden_size, outputs).to(self.device)
        nn.init.normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)
        self.autocast_dtype: torch.dtype | None = None

    def hidden(self, texts: Sequence[Text]) -> tuple[Tensor, Batch]:
        """The last layer's output for each token [rows, length, width], and where tokens stand."""
        # Dropout in training only: evaluation runs without gradients.
        self.train(torch.is_grad_enabled())
        batch = self.reader.batch(texts, self.device)
        if self.autocast_dtype is None:
            return hidden_states(self.backbone, batch), batch
        with torch.autocast(self.device.type, self.autocast_dtype):
            return hidden_states(self.backbone, batch), batch

    def vectors(self, texts: Sequence[Text]) -> Tensor:
        """One vector a text [rows, width] in float32."""
        hidden, batch = self.hidden(texts)
        return pooled(hidden, batch.mask, causal=self.task.pooling == "last")

    def train(self, mode: bool = True) -> "Encoder":
        """The backbone's own dropout stays off: on a CPU its random numbers cost more than the
        products, and what is trained is small."""
        self.training = mode
        self.dropout.train(mode)
        return self


def put_lora(encoder: Encoder, *, rank: int, alpha: int) -> None:
    """Put a new LoRA on every linear layer of the backbone."""
    for name, layer in linear_layers(encoder.backbone).items():
        parent = encoder.backbone.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], LoraLinear(layer, rank=rank, alpha=alpha))


def train_whole(encoder: Encoder, dtype: torch.dtype) -> None:
    """Train all layers of the backbone but its embeddings, whose rows are mostly never seen.

    The weights stay float32, the arithmetic is in `dtype`: an Adam step is often smaller than
    bfloat16 can add.
    """
    encoder.backbone.float()
    encoder.autocast_dtype = None if dtype == torch.float32 else dtype
    own = own_layers(encoder.backbone)
    for name, parameter in encoder.backbone.named_parameters():
        parameter.requires_grad_(name in own)


class Trained:
    """The weights of an encoder that a job trains, by their names on disk."""

    def __init__(self, encoder: Encoder, base_model: str, *, rank: int, alpha: int) -> None:
        self._encoder = encoder
        self._base_model = base_model
        self._rank = rank
        self._alpha = alpha

    def parameters(self) -> dict[str, nn.Parameter]:
        """By the names that PEFT gives a LoRA's weights; others keep their own."""
        found: dict[str, nn.Parameter] = {
            PREFIX + _on_disk(name): parameter
            for name, parameter in self._encoder.backbone.named_parameters()
            if parameter.requires_grad
        }
        if self._encoder.task.method == "embedding":
            return found
        for name, parameter in self._encoder.head.named_parameters():
            found[f"{PREFIX}head.{name}"] = parameter
        return found

    def save(self, folder: Path) -> None:
        """Write the weights, and a config that PEFT reads, with the task in it."""
        text = json.dumps(self._config(), indent=2, sort_keys=True, default=sorted)
        (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
        weights = {name: p.detach().cpu().contiguous() for name, p in self.parameters().items()}
        save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Take the weights of an adapter. Raises ValueError if it was made for another shape."""
        self.put(load_adapter(folder).tensors)

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the weights. Raises ValueError if they are not of the same names and shapes."""
        own = self.parameters()
        for name in own.keys() | tensors.keys():
            there = name in own and name in tensors and own[name].shape == tensors[name].shape
            if not there:
                raise ValueError(f"The adapter does not fit this model: {name}")
            own[name].data.copy_(tensors[name])

    def _config(self) -> dict[str, object]:
        targets = [
            name.removesuffix(".base")
            for name, module in self._encoder.backbone.named_modules()
            if isinstance(module, LoraLinear)
        ]
        config: dict[str, object] = LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=self._rank,
            lora_alpha=self._alpha,
            target_modules=targets,
            inference_mode=True,
            base_model_name_or_path=self._base_model,
        ).to_dict()  # type: ignore[no-untyped-call]
        return {**config, KEY: self._encoder.task.to_json()}


def _on_disk(name: str) -> str:
    for end, peft_end in ((".a", ".lora_A.weight"), (".b", ".lora_B.weight")):
        if name.endswith(end):
            return name.removesuffix(end) + peft_end
    return name
