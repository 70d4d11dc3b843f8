"""Settings of a job's adapter: checked against the base model, or those of an existing adapter."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from app.recipes.chat import ALL_LINEAR, LoraSettings
from worker.model.llama_files import Llama
from worker.modeling import PEFT_PREFIX, Adapter
from worker.training.errors import user_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LORA_A_SUFFIX = ".lora_A.weight"
MAX_LISTED_MODULES = 20


def check_target_modules(settings: LoraSettings, base: "Llama | PreTrainedModel") -> None:
    """Raise TrainingError if one of the named modules is no linear layer of the model."""
    if isinstance(settings.target_modules, str):
        return
    find_targets(settings.target_modules, list_linear_layers(base))


def find_targets(names: Sequence[str] | str, paths: Sequence[str]) -> list[str]:
    """Find the layers among `paths` that `target_modules` names: all, or those with these ends.

    Raises TrainingError if a name fits none.
    """
    if isinstance(names, str):
        return list(paths)
    for name in names:
        if not any(_fits(path, name) for path in paths):
            raise _unknown_module(name, paths)
    return [path for path in paths if any(_fits(path, name) for name in names)]


def _fits(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def list_linear_layers(base: "Llama | PreTrainedModel") -> list[str]:
    """List the paths of the linear layers that can have an adapter: all except the head."""
    head = base.get_output_embeddings()
    return [
        path
        for path, module in base.named_modules()
        # GPT-2's layers are transposed linear layers of their own type.
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
        and module is not head
        # Engines serve no adapters of a mixture's experts.
        and "expert" not in path
    ]


def _unknown_module(name: str, paths: Sequence[str]) -> Exception:
    known = sorted({path.rpartition(".")[2] for path in paths})
    listed = ", ".join(known[:MAX_LISTED_MODULES])
    return user_error(
        "invalid_target_modules",
        f"The base model has no linear layer named '{name}'; it has {listed}. Choose of these, or "
        "use 'all-linear'.",
        "target_modules",
    )


def inherit_settings(
    settings: LoraSettings, initial: Adapter, available: Sequence[str]
) -> LoraSettings:
    """Take the shape of the adapter that training continues from; its dropout is the job's own.

    `available` are the paths of the layers that can have an adapter.
    """
    paths = {
        name.removeprefix(PEFT_PREFIX).removesuffix(LORA_A_SUFFIX)
        for name in initial.tensors
        if name.endswith(LORA_A_SUFFIX)
    }
    return replace(
        settings,
        rank=initial.config["r"],
        alpha=initial.config["lora_alpha"],
        target_modules=_describe_modules(paths, set(available)),
    )


def _describe_modules(paths: set[str], available: set[str]) -> tuple[str, ...] | str:
    """Describe exactly `paths`: by their last names where these fit no other layer."""
    if paths == available:
        return ALL_LINEAR
    names = {path.rpartition(".")[2] for path in paths}
    named = {path for path in available if path.rpartition(".")[2] in names}
    return tuple(sorted(names if named == paths else paths))
