"""Base models and adapters: from the catalogue to tensors. Training and serving both use it."""

import fcntl
import json
import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from app.catalog import CatalogModel

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
# Written last into a converted model's folder; holds the source the folder was made from.
READY_FILE = "ready"
# What a model needs to run. Never code: a hub repository may hold Python files.
MODEL_FILE_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


class ModelUnavailable(Exception):
    """A base model's source is missing or not usable; the message says which and why."""


def materialize(model: CatalogModel, cache: Path) -> Path:
    """The folder in Hugging Face's layout that holds `model`, made in `cache` if need be.

    Safe to call from many processes at once: one converts, the others wait for it.
    Raises ModelUnavailable with a sentence.
    """
    scheme, _, rest = model.source.partition(":")
    if scheme == "path":
        return _check_model_folder(Path(rest), model)
    if scheme == "package":
        found = _find_in_package(rest, model)
        return _convert_gguf_once(found, model, cache) if found.suffix == ".gguf" else found
    if scheme == "hf":
        return _download_once(rest, model, cache)
    raise ModelUnavailable(
        f"The model {model.id} has the source {model.source!r}; here only path:, package: and hf: "
        "are known. Fetch it into a folder first and use path:."
    )


def _check_model_folder(folder: Path, model: CatalogModel) -> Path:
    """`folder`, if it is a model without code of its own."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"The model {model.id} is not readable at {folder}: {error}."
        ) from error
    # auto_map names Python files beside the weights. They would run with our rights.
    if "auto_map" in config:
        raise ModelUnavailable(f"The model {model.id} brings its own code, which is not run here.")
    return folder


def _find_in_package(place: str, model: CatalogModel) -> Path:
    name, _, inside = place.partition("/")
    try:
        found = Path(str(distribution(name).locate_file(inside)))
    except PackageNotFoundError as error:
        raise ModelUnavailable(
            f"The model {model.id} comes from the package {name}, which is not installed."
        ) from error
    if not found.exists():
        raise ModelUnavailable(f"The package {name} holds no {inside} for the model {model.id}.")
    return found if found.is_file() else _check_model_folder(found, model)


def _convert_gguf_once(gguf: Path, model: CatalogModel, cache: Path) -> Path:
    with _populate_once(model, cache) as aside:
        if aside is not None:
            _dequantize(gguf, aside)
    return _check_model_folder(_cache_folder(model, cache), model)


def _download_once(repository: str, model: CatalogModel, cache: Path) -> Path:
    with _populate_once(model, cache) as aside:
        if aside is not None:
            try:
                snapshot_download(repository, local_dir=aside, allow_patterns=MODEL_FILE_PATTERNS)
            except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
                raise ModelUnavailable(
                    f"The model {model.id} could not be fetched from {repository}: {error}."
                ) from error
    return _check_model_folder(_cache_folder(model, cache), model)


def _cache_folder(model: CatalogModel, cache: Path) -> Path:
    return cache / model.id.replace("/", "--")


@contextmanager
def _populate_once(model: CatalogModel, cache: Path) -> Iterator[Path | None]:
    """Yield a folder to fill, renamed into place afterwards, or None if it is there already."""
    cache.mkdir(parents=True, exist_ok=True)
    place = _cache_folder(model, cache)
    with (cache / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = place / READY_FILE
        if mark.exists() and mark.read_text(encoding="utf-8") == model.source:
            yield None
            return
        aside = cache / f".{place.name}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        yield aside
        (aside / READY_FILE).write_text(model.source, encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)


def _dequantize(gguf: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file as safetensors in bfloat16.

    bfloat16 holds what a GGUF of 4 to 8 bits knows, and is what these models were trained in.
    """
    disable_progress_bar()
    # Without dequantize=True the weights stay packed and cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    model.bfloat16().save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it; elsewhere it is emulated, tens of times slower."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def load_base(folder: Path, *, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The causal language model in `folder`, frozen and in evaluation mode."""
    disable_progress_bar()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True
    )
    model.requires_grad_(False)
    model.train(False)
    placed: PreTrainedModel = model.to(device)  # type: ignore[arg-type]
    return placed


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True
    )
    return tokenizer


def add_adapter(
    base: PreTrainedModel, *, rank: int, alpha: int, base_model: str, seed: int
) -> PeftModel:
    """Put a new LoRA on all linear layers but the head. A is random by `seed`, B is zero.

    `base_model` is the name the adapter's config will record. Adapter weights are float32
    whatever the base model's dtype: an Adam step is often smaller than bfloat16 can add.
    """
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # PEFT 0.21 asks the model for `is_gradient_checkpointing`, a name transformers retires.
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        model = get_peft_model(base, config)
    # PEFT would record the folder of this machine's cache.
    model.peft_config["default"].base_model_name_or_path = base_model
    return model


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA weights by PEFT's names (`base_model.model.….lora_A.weight`) and their config."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def scaling(self) -> float:
        """What B·A·x is multiplied with: alpha / r, or alpha / sqrt(r) for rank-stabilized LoRA.

        Raises KeyError, TypeError or ValueError if the config has no such numbers.
        """
        rank, alpha = float(self.config["r"]), float(self.config["lora_alpha"])
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank


def load_adapter(folder: Path) -> Adapter:
    """Read an adapter in PEFT's format. Raises OSError or ValueError if it is not whole."""
    return Adapter(
        config=json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes()),
        tensors=load_file(folder / ADAPTER_WEIGHTS_FILE),
    )


def set_adapter_weights(model: PeftModel, tensors: dict[str, Tensor]) -> None:
    """Overwrite the adapter on `model`. Raises ValueError if it was made for another shape."""
    own = adapter_parameters(model)
    different = own.keys() ^ tensors.keys()
    if different:
        raise ValueError(f"The adapter does not fit this model: {min(different)}")
    for name, parameter in own.items():
        if parameter.shape != tensors[name].shape:
            raise ValueError(f"The adapter does not fit this model: {name}")
        parameter.data.copy_(tensors[name])


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors as PEFT, vLLM and others read them.

    PEFT's own `save_pretrained` writes the same, but with a model card, and with the layer names
    in an order that changes from process to process: equal adapters would not be equal files.
    """
    config = {**model.peft_config["default"].to_dict(), "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=sorted)
    (folder / ADAPTER_CONFIG_FILE).write_text(text, encoding="utf-8")
    weights = {name: p.detach().cpu() for name, p in adapter_parameters(model).items()}
    save_file(weights, folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})


def adapter_parameters(model: PeftModel) -> dict[str, nn.Parameter]:
    """The trained weights by their names on disk."""
    return {
        name.replace(".default.", "."): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
