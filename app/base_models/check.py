"""Check of a base model by its config and file names: what works with it, and what does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.base_models.source import BaseModelFiles
from app.catalog import ModelKind

# Architectures with training and serving of their own; the worker has the same list.
FAST_MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
# Those that are exported as gguf; the worker has the same list.
GGUF_MODEL_TYPES = FAST_MODEL_TYPES | {"gemma3_text", "gpt2", "phi3"}
# Repositories of these have code too, of the time before transformers had the architecture.
NATIVE_MODEL_TYPES = FAST_MODEL_TYPES | {"falcon", "gemma3_text", "phi", "phi3", "smollm3"}
EXPERT_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
ENCODER_ARCHITECTURES = ("ForMaskedLM", "ForPreTraining", "ForSequenceClassification")
TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True, slots=True)
class BaseModelCheck:
    """Result of a check. With `problems` the model cannot be used at all."""

    kind: ModelKind
    model_type: str
    context_length: int
    weight_bytes: int
    is_fast: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check(files: BaseModelFiles) -> BaseModelCheck:
    text_config = _get_text_config(files.config)
    kind = _find_kind(files.config)
    return BaseModelCheck(
        kind=kind,
        model_type=str(files.config.get("model_type", "")),
        context_length=_find_context_length(text_config, files.tokenizer_config),
        weight_bytes=sum(n for name, n in files.sizes.items() if name.endswith(".safetensors")),
        is_fast=kind == ModelKind.ENCODER or _is_fast(text_config),
        problems=tuple(_find_problems(files)),
        notes=tuple(_find_notes(files, text_config, kind)),
    )


def count_experts(config: Mapping[str, Any]) -> int:
    """The number of experts of a mixture; 0 for a dense model."""
    counts = (config.get(name) for name in EXPERT_FIELDS)
    return max((count for count in counts if isinstance(count, int) and count > 1), default=0)


def _find_problems(files: BaseModelFiles) -> list[str]:
    problems = []
    model_type = files.config.get("model_type")
    if not model_type:
        problems.append("It has no config.json that names a model_type.")
    if "auto_map" in files.config and model_type not in NATIVE_MODEL_TYPES:
        problems.append("It needs its own code, which is never executed.")
    if not any(name.endswith(".safetensors") for name in files.sizes):
        problems.append("It has no safetensors; weights in pickle files are never loaded.")
    if not any(name in files.sizes for name in ("tokenizer.json", "tokenizer.model")):
        problems.append("It has no tokenizer.json or tokenizer.model.")
    quantization = files.config.get("quantization_config")
    if isinstance(quantization, Mapping):
        kind = quantization.get("quant_method", "an unknown method")
        problems.append(f"Its weights are quantized ({kind}); use the repository it was made from.")
    return problems


def _find_notes(
    files: BaseModelFiles, text_config: Mapping[str, Any], kind: ModelKind
) -> list[str]:
    notes = []
    if kind == ModelKind.CAUSAL and not _has_template(files):
        notes.append(
            "It has no chat template: train it on prompt/completion rows and ask /v1/completions."
        )
    if "vision_config" in files.config or "audio_config" in files.config:
        notes.append("It reads images or sound elsewhere; here, only text.")
    if experts := count_experts(text_config):
        notes.append(
            f"It is a mixture of {experts} experts: LoRA tunes the layers that all tokens pass, "
            "and the experts stay as they are."
        )
    if kind == ModelKind.CAUSAL and not _is_fast(text_config):
        notes.append(
            "It trains and is served by transformers' own forward pass, one sequence at a time."
        )
    if kind == ModelKind.CAUSAL and text_config.get("model_type") not in GGUF_MODEL_TYPES:
        notes.append("Its models are not exported as gguf; export merged instead.")
    return notes


def _has_template(files: BaseModelFiles) -> bool:
    return bool(files.tokenizer_config.get("chat_template")) or TEMPLATE_FILE in files.sizes


def _get_text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def _find_kind(config: Mapping[str, Any]) -> ModelKind:
    architectures = [str(name) for name in config.get("architectures") or []]
    is_causal = any("ForCausalLM" in name or "LMHead" in name for name in architectures)
    if is_causal or any("ForConditionalGeneration" in name for name in architectures):
        return ModelKind.CAUSAL
    if any(name.endswith(ENCODER_ARCHITECTURES) for name in architectures):
        return ModelKind.ENCODER
    # A bare backbone, as that of an embedding model.
    return ModelKind.ENCODER


def _is_fast(config: Mapping[str, Any]) -> bool:
    has_window = config.get("sliding_window") is not None and config.get("use_sliding_window", True)
    return config.get("model_type") in FAST_MODEL_TYPES and not has_window


def _find_context_length(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> int:
    """The positions of the model, or fewer if the tokenizer truncates earlier."""
    positions = config.get("max_position_embeddings") or config.get("n_positions") or 512
    # "No limit" is written as 10^30.
    limit = tokenizer_config.get("model_max_length")
    if isinstance(limit, int | float) and 0 < limit < positions:
        return int(limit)
    return int(positions)
