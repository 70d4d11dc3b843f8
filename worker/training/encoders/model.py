"""Trainable encoder: a backbone with a head, tuned by LoRA or in full, and its adapter files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from app.recipes.chat import LoraSettings
from worker.adapter_config import make_adapter_config
from worker.encoding.backbone import (
    Backbone,
    compute_hidden_states,
    find_linear_layers,
    list_full_tuning_parameter_names,
)
from worker.encoding.bert_files import Bert
from worker.encoding.pooling import pool
from worker.encoding.task import TASK_CONFIG_KEY, EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, PaddedBatch, TokenizedText
from worker.modeling import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_WEIGHTS_FILE,
    PEFT_PREFIX,
    load_adapter,
    to_peft_name,
)
from worker.training.adapter_settings import find_targets
from worker.training.encoders import bert
from worker.training.encoders.bert import BertEncoder
from worker.training.lora import LoraLinear

HEAD_INIT_STD = 0.02
HEAD_DROPOUT = 0.1


class Encoder(nn.Module):
    """A backbone with a linear head in float32."""

    def __init__(
        self,
        backbone: Backbone,
        task: EncoderTask,
        tokenizer: EncoderTokenizer,
        *,
        num_outputs: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.task = task
        self.tokenizer = tokenizer
        self.device = backbone.device
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.head = nn.Linear(backbone.config.hidden_size, num_outputs).to(self.device)
        nn.init.normal_(self.head.weight, std=HEAD_INIT_STD)
        nn.init.zeros_(self.head.bias)
        self.autocast_dtype: torch.dtype | None = None
        # Computes the same as the backbone, faster; None if its architecture is another one.
        self.step: BertEncoder | None = None
        self.adapters: list[LoraLinear] = []

    def compute_token_states(self, texts: Sequence[TokenizedText]) -> tuple[Tensor, PaddedBatch]:
        """Compute the last layer's hidden states [rows, length, width]; also return the batch."""
        # Dropout is on only if gradients are computed, which evaluation disables.
        self.train(torch.is_grad_enabled())
        batch = self.tokenizer.pad(texts, self.device)
        if self.step is not None:
            return self.step.compute_states(batch), batch
        assert not isinstance(self.backbone, Bert), "it has a step"
        if self.autocast_dtype is None:
            return compute_hidden_states(self.backbone, batch), batch
        with torch.autocast(self.device.type, self.autocast_dtype):
            return compute_hidden_states(self.backbone, batch), batch

    def embed_texts(self, texts: Sequence[TokenizedText]) -> Tensor:
        """Compute each text's pooled vector [rows, width] in float32."""
        hidden, batch = self.compute_token_states(texts)
        return pool(hidden, batch.mask, self.task.pooling)

    def train(self, mode: bool = True) -> "Encoder":
        """Switch only the dropout of head and adapters; the backbone's own dropout stays off.

        On a CPU, generating its random numbers takes longer than the matrix products, and few
        weights are trained, so that little regularization is needed.
        """
        self.training = mode
        self.dropout.train(mode)
        for layer in self.adapters:
            layer.dropout.train(mode)
        return self


def add_lora(encoder: Encoder, settings: LoraSettings, kernels: Path | None = None) -> None:
    """Add a new LoRA to the linear layers of the backbone, or to those that the settings name.

    Native operations are used if there is a folder of `kernels`. Raises TrainingError if the
    backbone has no layer of a name.
    """
    layers = find_linear_layers(encoder.backbone)
    for name in find_targets(settings.target_modules, list(layers)):
        adapter = LoraLinear(
            layers[name], rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout
        )
        parent = encoder.backbone.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], adapter)
        encoder.adapters.append(adapter)
    _choose_step(encoder, encoder.backbone.dtype, kernels)


def enable_full_tuning(encoder: Encoder, dtype: torch.dtype, kernels: Path | None = None) -> None:
    """Train all layers of the backbone except its embeddings, in mixed precision.

    The weights stay float32 and the arithmetic is in `dtype`: an Adam step is often too small to be
    added in bfloat16. Native operations are used if there is a folder of `kernels`.
    """
    encoder.backbone.float()
    encoder.autocast_dtype = None if dtype == torch.float32 else dtype
    trained_names = list_full_tuning_parameter_names(encoder.backbone)
    for name, parameter in encoder.backbone.named_parameters():
        parameter.requires_grad_(name in trained_names)
    _choose_step(encoder, dtype, kernels)


def _choose_step(encoder: Encoder, dtype: torch.dtype, kernels: Path | None) -> None:
    if bert.supports(encoder.backbone):
        encoder.step = BertEncoder(encoder.backbone, dtype, kernels)


class EncoderWeights:
    """Trainable weights of an encoder, in PEFT's adapter format."""

    def __init__(self, encoder: Encoder, base_model: str, settings: LoraSettings) -> None:
        self._encoder = encoder
        self._base_model = base_model
        self._settings = settings

    def parameters(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by their names on disk: LoRA weights as PEFT names them."""
        parameters: dict[str, nn.Parameter] = {
            PEFT_PREFIX + to_peft_name(name): parameter
            for name, parameter in self._encoder.backbone.named_parameters()
            if parameter.requires_grad
        }
        if self._encoder.task.method == "embedding":
            return parameters
        for name, parameter in self._encoder.head.named_parameters():
            parameters[f"{PEFT_PREFIX}head.{name}"] = parameter
        return parameters

    def save(self, folder: Path) -> None:
        """Write the weights, and a config in PEFT's format that includes the task."""
        text = json.dumps(self._config(), indent=2, sort_keys=True)
        (folder / ADAPTER_CONFIG_FILE).write_text(text, encoding="utf-8")
        weights = {name: p.detach().cpu().contiguous() for name, p in self.parameters().items()}
        save_file(weights, folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Load the weights of an adapter. Raises ValueError if names or shapes do not match."""
        self.set_weights(load_adapter(folder).tensors)

    def set_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the weights. Raises ValueError if names or shapes do not match."""
        parameters = self.parameters()
        for name in parameters.keys() | tensors.keys():
            is_matching = (
                name in parameters
                and name in tensors
                and parameters[name].shape == tensors[name].shape
            )
            if not is_matching:
                raise ValueError(f"The adapter does not match this model: {name}")
            parameters[name].data.copy_(tensors[name])

    def _config(self) -> dict[str, object]:
        targets = [
            name
            for name, module in self._encoder.backbone.named_modules()
            if isinstance(module, LoraLinear)
        ]
        config = make_adapter_config(
            "FEATURE_EXTRACTION",
            rank=self._settings.rank,
            alpha=self._settings.alpha,
            dropout=self._settings.dropout,
            target_modules=targets,
            base_model=self._base_model,
        )
        return {**config, TASK_CONFIG_KEY: self._encoder.task.to_json()}
