"""Loads base models and adapters, for both training and serving."""

import base64
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from app import logs
from app.catalog import HF_LOCATION, CatalogModel
from worker.model_cache import (
    MODEL_FILE_PATTERNS,
    ModelUnavailable,
    get_cache_folder,
    is_cached,
    populate_once,
)
from worker.run_folder import file_sha256

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"


log = logs.get_logger(__name__)


def materialize(model: CatalogModel, cache: Path) -> Path:
    """Return a local folder of `model` in Hugging Face's layout, made in `cache` if necessary.

    Safe to call from several processes: one downloads or converts while the others wait.
    Raises ModelUnavailable.
    """
    scheme, _, location = model.source.partition(":")
    if scheme == "path":
        return _check_model_folder(Path(location), model)
    if scheme == "package":
        path = _find_in_package(location, model)
        return _convert_gguf_once(path, model, cache) if path.suffix == ".gguf" else path
    if scheme == "hf":
        return _download_once(location, model, cache)
    if scheme == "s3" and is_cached(model, cache):
        # Fetched by a process that may read storage: see worker/bucket_models.py.
        return _check_model_folder(get_cache_folder(model, cache), model)
    raise ModelUnavailable(
        f"The model {model.id} has the source {model.source!r}; only path:, package:, hf: and "
        "s3://, once a trainer or engine has fetched it, are supported. Download it into a folder "
        "first and use path:."
    )


def _check_model_folder(folder: Path, model: CatalogModel) -> Path:
    """Return `folder` if its model does not need custom code. Raises ModelUnavailable."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"The model {model.id} is not readable at {folder}: {error}."
        ) from error
    # auto_map names Python files in the folder, which transformers would execute in this process.
    # Those of an architecture that it has itself, such as Phi-4-mini's, are never read.
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING:
        raise ModelUnavailable(f"The model {model.id} needs its own code, which is never executed.")
    return folder


def _find_in_package(location: str, model: CatalogModel) -> Path:
    name, _, path_inside = location.partition("/")
    try:
        package = distribution(name)
    except PackageNotFoundError as error:
        raise ModelUnavailable(
            f"The model {model.id} comes from the package {name}, which is not installed."
        ) from error
    path = Path(str(package.locate_file(path_inside)))
    if not path.exists():
        raise ModelUnavailable(
            f"The package {name} does not contain {path_inside} of the model {model.id}."
        )
    if path.is_file():
        return path
    _check_package(location, model)
    return _check_model_folder(path, model)


def _check_package(location: str, model: CatalogModel) -> None:
    """Raise ModelUnavailable unless the package's files are as they were installed."""
    name, _, path_inside = location.partition("/")
    damaged = _find_damage_in_package(distribution(name), path_inside)
    if damaged is not None:
        log.error("model.damaged", model=model.id, file=damaged)
        raise ModelUnavailable(
            f"The file {damaged} of the model {model.id} is damaged. Reinstall the package {name}."
        )


def _find_damage_in_package(package: Distribution, path_inside: str) -> str | None:
    """Return the first file at or below a path that is not as the package's RECORD lists it."""
    for file in package.files or ():
        is_inside = file.as_posix() == path_inside or file.as_posix().startswith(f"{path_inside}/")
        if not is_inside or file.hash is None or file.hash.mode != "sha256":
            continue
        path = Path(str(file.locate()))
        if not path.is_file() or _record_sha256(path) != file.hash.value:
            return file.as_posix()
    return None


def _record_sha256(path: Path) -> str:
    """Compute a file's SHA-256 as RECORD files have it: URL-safe base64 without padding."""
    digest = bytes.fromhex(file_sha256(path))
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _convert_gguf_once(gguf: Path, model: CatalogModel, cache: Path) -> Path:
    with populate_once(model, cache) as partial:
        if partial is not None:
            _check_package(model.source.partition(":")[2], model)
            _dequantize(gguf, partial)
    return _check_model_folder(get_cache_folder(model, cache), model)


def _download_once(location: str, model: CatalogModel, cache: Path) -> Path:
    match = HF_LOCATION.fullmatch(location)
    if match is None:
        raise ModelUnavailable(f"The source of the model {model.id} names no commit: {location}.")
    with populate_once(model, cache) as partial:
        if partial is not None:
            _download(match["repository"], match["revision"], model, partial)
    return _check_model_folder(get_cache_folder(model, cache), model)


def _download(repository: str, revision: str, model: CatalogModel, folder: Path) -> None:
    """Download a commit of a hub repository and check each file against the hash that the commit
    records. Raises ModelUnavailable."""
    try:
        snapshot_download(
            repository, revision=revision, local_dir=folder, allow_patterns=MODEL_FILE_PATTERNS
        )
        verified = HfApi().verify_repo_checksums(repository, revision=revision, local_dir=folder)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(
            f"The model {model.id} could not be fetched from {repository}: {error}."
        ) from error
    wrong = [mismatch["path"] for mismatch in verified.mismatches] + verified.extra_paths
    if wrong:
        raise ModelUnavailable(
            f"The model {model.id} was not fetched as {repository} has it at {revision}: "
            f"{', '.join(sorted(wrong))} differs. Try again; if it persists, do not use the model."
        )


def _dequantize(gguf: Path, folder: Path) -> None:
    """Convert a GGUF file to safetensors in bfloat16, with its tokenizer.

    bfloat16 loses nothing that a GGUF of 4 to 8 bits contains, and these models were trained in it.
    """
    disable_progress_bar()
    # Without dequantize=True the weights stay quantized and cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        trust_remote_code=False,
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False
    )
    tokenizer.save_pretrained(folder)


def choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """Choose bfloat16 if the hardware supports it natively: emulation is tens of times slower."""
    if device.type == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if is_native else torch.float32


def load_base(folder: Path, *, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Load the causal language model in `folder`, frozen and in evaluation mode."""
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
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return tokenizer


def add_adapter(
    base: PreTrainedModel,
    *,
    rank: int,
    alpha: float,
    base_model: str,
    seed: int,
    dropout: float = 0.0,
    target_modules: Sequence[str] | str = "all-linear",
) -> PeftModel:
    """Add a new LoRA to linear layers, by default all except the head. A is random by `seed`, B is
    zero.

    Of a mixture of experts, to those that all tokens pass: engines serve no adapters of experts.

    `base_model` is the name recorded in the adapter's config. Adapter weights are float32 for any
    dtype of the base model: an Adam step is often too small to be added in bfloat16.
    """
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=_find_target_modules(base, target_modules),
    )
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # PEFT 0.21 reads `is_gradient_checkpointing`, which transformers deprecates.
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        model = get_peft_model(base, config)
    # PEFT would record the path of the local cache.
    model.peft_config["default"].base_model_name_or_path = base_model
    return model


def _has_experts(base: PreTrainedModel) -> bool:
    """True if experts are fused into one parameter, which PEFT would tune as a whole."""
    return any(parameter.dim() == 3 for parameter in base.parameters())


def _find_target_modules(base: PreTrainedModel, names: Sequence[str] | str) -> list[str] | str:
    """Leave out experts; PEFT finds the modules of other models by their names."""
    if not _has_experts(base):
        return names if isinstance(names, str) else list(names)
    paths = _list_shared_layers(base)
    if isinstance(names, str):
        return paths
    return [path for path in paths if any(f".{path}".endswith(f".{name}") for name in names)]


def _list_shared_layers(base: PreTrainedModel) -> list[str]:
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


def set_adapter_weights(model: PeftModel, tensors: dict[str, Tensor]) -> None:
    """Overwrite the adapter's weights on `model`. Raises ValueError if the shapes do not match."""
    parameters = adapter_parameters(model)
    mismatched = parameters.keys() ^ tensors.keys()
    if mismatched:
        raise ValueError(f"The adapter does not match this model: {min(mismatched)}")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise ValueError(f"The adapter does not match this model: {name}")
        parameter.data.copy_(tensors[name])


def save_adapter(model: PeftModel, folder: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write adapter_config.json and adapter_model.safetensors, which PEFT, vLLM and others read.

    PEFT's own `save_pretrained` adds a model card, and orders the layer names differently in each
    process: equal adapters would not be equal files. `metadata` is written with the weights.
    """
    config = {**model.peft_config["default"].to_dict(), "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=sorted)
    (folder / ADAPTER_CONFIG_FILE).write_text(text, encoding="utf-8")
    weights = {name: p.detach().cpu() for name, p in adapter_parameters(model).items()}
    save_file(weights, folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt", **(metadata or {})})


def adapter_parameters(model: PeftModel) -> dict[str, nn.Parameter]:
    """Trainable parameters by their names on disk."""
    return {
        name.replace(".default.", "."): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
