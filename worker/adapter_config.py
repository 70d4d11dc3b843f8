"""Config of an adapter in PEFT's format, as PEFT itself writes it, without importing it.

That takes more than a second, and most jobs need nothing else of it.
"""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

# What PEFT writes of features that no adapter of this service has.
UNUSED = {
    **dict.fromkeys(
        (
            "alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config",
            "exclude_modules", "kasa_config", "layer_replication", "layers_pattern",
            "layers_to_transform", "lora_ga_config", "megatron_config", "modules_to_save",
            "monteclora_config", "revision", "target_parameters", "trainable_token_indices",
            "use_bdlora", "velora_config",
        )
    ),
    **dict.fromkeys(
        (
            "ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_dora", "use_qalora",
            "use_rslora",
        ),
        False,
    ),
    "bias": "none",
    "megatron_core": "megatron.core",
    "qalora_group_size": 16,
}  # fmt: skip


def make_adapter_config(
    task_type: str,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: Collection[str],
    base_model: str,
) -> dict[str, Any]:
    """Make the content of adapter_config.json; `target_modules` are names or ends of names."""
    return {
        **UNUSED,
        **{name: {} for name in ("alpha_pattern", "loftq_config", "rank_pattern")},
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "peft_type": "LORA",
        "peft_version": version("peft"),
        "r": rank,
        "target_modules": sorted(target_modules),
        "task_type": task_type,
    }
