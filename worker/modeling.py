"""Loads base models from their folders, and adapters, for both training and serving."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, TokenizersBackend
from transformers.utils.logging import disable_progress_bar

from worker.light_imports import import_models

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
# Prefix of all weight names in PEFT's adapters.
PEFT_PREFIX = "base_model.model."


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """Choose bfloat16 if the hardware supports it natively: emulation is tens of times slower."""
    if device.type == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if is_native else torch.float32


def load_base(folder: Path, *, dtype: torch.dtype, device: torch.device) -> "PreTrainedModel":
    """Load the causal language model in `folder`, frozen and in evaluation mode."""
    # Engines mostly need none of transformers' models; importing them takes long.
    import_models()
    from transformers import AutoModelForCausalLM

    disable_progress_bar()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    model.requires_grad_(False)
    model.train(False)
    on_device: PreTrainedModel = model.to(device)  # type: ignore[arg-type]
    return on_device


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if _has_general_tokenizer(folder):
        general: PreTrainedTokenizerBase = TokenizersBackend.from_pretrained(
            folder, local_files_only=True
        )
        return general
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder,
        config=_read_model_type(folder),
        local_files_only=True,
        trust_remote_code=False,
    )
    return tokenizer


def _has_general_tokenizer(folder: Path) -> bool:
    """True if transformers' AutoTokenizer would take the class for a tokenizer of any model.

    To import those of single models takes long. For Llamas it is what the file says; other models
    have lists of exceptions.
    """
    saved, model_type = _read_saved_tokenizer(folder)
    return (
        model_type == "llama"
        and saved.get("tokenizer_class") == "TokenizersBackend"
        and "auto_map" not in saved
    )


def _read_model_type(folder: Path) -> "PreTrainedConfig | None":
    """Read what transformers chooses a tokenizer's class by, if it has saved the tokenizer.

    Otherwise None: it reads the config by the model's own class then, whose module imports most of
    transformers and of torch.
    """
    saved, model_type = _read_saved_tokenizer(folder)
    if saved.get("tokenizer_class") != "TokenizersBackend":
        return None
    from transformers import PreTrainedConfig

    config: Any = PreTrainedConfig()
    config.name_or_path = str(folder)
    config.model_type = model_type
    typed: PreTrainedConfig = config
    return typed


def _read_saved_tokenizer(folder: Path) -> tuple[dict[str, Any], str]:
    """Read a tokenizer's config, and the type of its model; empty if there are none."""
    try:
        saved = json.loads((folder / "tokenizer_config.json").read_bytes())
        described = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}, ""
    return saved, str(described.get("model_type", ""))


def add_adapter(
    base: "PreTrainedModel",
    *,
    rank: int,
    alpha: float,
    base_model: str,
    seed: int,
    dropout: float = 0.0,
    target_modules: Sequence[str] | str = "all-linear",
) -> "PeftModel":
    """Add a new LoRA to linear layers, by default all except the head. A is random by `seed`, B is
    zero.

    Of a mixture of experts, to those that all tokens pass: engines serve no adapters of experts.

    `base_model` is the name recorded in the adapter's config. Adapter weights are float32 for any
    dtype of the base model: an Adam step is often too small to be added in bfloat16.
    """
    model = wrap_layers(
        base, rank=rank, alpha=alpha, dropout=dropout, target_modules=target_modules
    )
    draw_weights(model, base_model=base_model, seed=seed)
    return model


def wrap_layers(
    base: "PreTrainedModel",
    *,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: Sequence[str] | str,
) -> "PeftModel":
    """Wrap the layers that `add_adapter` adapts: with weights that take no memory, until
    `draw_weights`."""
    # Only training adds adapters; engines start without PEFT.
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=_find_target_modules(base, target_modules),
    )
    with warnings.catch_warnings():
        # PEFT 0.21 reads `is_gradient_checkpointing`, which transformers deprecates.
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        return get_peft_model(base, config, low_cpu_mem_usage=True)


def draw_weights(model: "PeftModel", *, base_model: str, seed: int) -> None:
    """Give the adapter of `wrap_layers` its first weights, and record the base model's name."""
    torch.manual_seed(seed)
    for module in model.modules():
        if hasattr(module, "reset_lora_parameters"):
            layer: Any = module
            for part in (layer.lora_A, layer.lora_B):
                part.to_empty(device="cpu")
            layer.reset_lora_parameters("default", True)
            for part in (layer.lora_A, layer.lora_B):
                part.to(layer.weight.device)
    # PEFT would record the path of the local cache.
    model.peft_config["default"].base_model_name_or_path = base_model


def _has_experts(base: "PreTrainedModel") -> bool:
    """True if experts are fused into one parameter, which PEFT would tune as a whole."""
    return any(parameter.dim() == 3 for parameter in base.parameters())


def _find_target_modules(base: "PreTrainedModel", names: Sequence[str] | str) -> list[str] | str:
    """Leave out experts; PEFT finds the modules of other models by their names."""
    if not _has_experts(base):
        return names if isinstance(names, str) else list(names)
    paths = _list_shared_layers(base)
    if isinstance(names, str):
        return paths
    return [path for path in paths if any(f".{path}".endswith(f".{name}") for name in names)]


def _list_shared_layers(base: "PreTrainedModel") -> list[str]:
    head = base.get_output_embeddings()
    return [
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and module is not head and "expert" not in name
    ]


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA weights by PEFT's names (`base_model.model.….lora_A.weight`) and their config."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def scaling(self) -> float:
        """Factor of B·A·x: alpha / r, or alpha / sqrt(r) for rank-stabilized LoRA (rsLoRA).

        Raises KeyError, TypeError or ValueError if the config lacks valid numbers.
        """
        rank, alpha = float(self.config["r"]), float(self.config["lora_alpha"])
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank


def load_adapter(folder: Path) -> Adapter:
    """Read an adapter in PEFT's format. Raises OSError or ValueError if it is incomplete."""
    return Adapter(
        config=json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes()),
        tensors=load_file(folder / ADAPTER_WEIGHTS_FILE),
    )


def set_adapter_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Overwrite the adapter's weights on `model`. Raises ValueError if the shapes do not match."""
    parameters = adapter_parameters(model)
    mismatched = parameters.keys() ^ tensors.keys()
    if mismatched:
        raise ValueError(f"The adapter does not match this model: {min(mismatched)}")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise ValueError(f"The adapter does not match this model: {name}")
        parameter.data.copy_(tensors[name])


def save_adapter(model: nn.Module, folder: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write adapter_config.json and adapter_model.safetensors, which PEFT, vLLM and others read.

    PEFT's own `save_pretrained` adds a model card, and orders the layer names differently in each
    process: equal adapters would not be equal files. `metadata` is written with the weights.
    """
    text = json.dumps(read_adapter_config(model), indent=2, sort_keys=True, default=sorted)
    (folder / ADAPTER_CONFIG_FILE).write_text(text, encoding="utf-8")
    weights = {name: p.detach().cpu() for name, p in adapter_parameters(model).items()}
    save_file(weights, folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt", **(metadata or {})})


def read_adapter_config(model: Any) -> dict[str, Any]:
    """PEFT's config of a model's adapter, for adapter_config.json."""
    if hasattr(model, "adapter_config"):
        own: dict[str, Any] = model.adapter_config
        return own
    return {**model.peft_config["default"].to_dict(), "inference_mode": True}


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by their names on disk."""
    return {
        to_peft_name(name): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def to_peft_name(name: str) -> str:
    """Convert the name of an adapter's parameter, in PEFT's layers or in `LoraLinear`, to the name
    on disk; others stay the same."""
    for end, peft_end in ((".lora_a", ".lora_A.weight"), (".lora_b", ".lora_B.weight")):
        if name.endswith(end):
            return name.removesuffix(end) + peft_end
    return name.replace(".default.", ".")
