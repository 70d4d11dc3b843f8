"""A model of `load_llama` with a LoRA: equal to what PEFT makes of transformers' model.

To import PEFT and transformers' models takes longer than all else that a job does before its first
step. Other models need both: the training code reads of either what they have in common.
"""

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn

from app.recipes.chat import LoraSettings
from worker.adapter_config import make_adapter_config
from worker.model.llama_files import Llama
from worker.training.adapter_settings import find_targets, list_linear_layers
from worker.training.lora import LoraLinear

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

BaseModel: TypeAlias = "Llama | PreTrainedModel"
AdaptedModel: TypeAlias = "AdaptedLlama | PeftModel"


class AdaptedLlama(nn.Module):
    """A base model whose linear layers have a new adapter, with PEFT's names of modules.

    A is random by the seed, in the order and by the numbers that PEFT draws; B is zero.
    """

    def __init__(self, base: Llama, settings: LoraSettings, *, base_model: str, seed: int) -> None:
        """Wrap layers of `base` itself. Raises TrainingError if the settings name unknown ones."""
        super().__init__()
        paths = find_targets(settings.target_modules, list_linear_layers(base))
        torch.manual_seed(seed)
        for path in paths:
            layer = base.get_submodule(path)
            assert isinstance(layer, nn.Linear)
            adapter = LoraLinear(
                layer, rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout
            )
            base.set_submodule(path, adapter)
        self.base_model = nn.Module()
        self.base_model.add_module("model", base)
        names = settings.target_modules
        self.adapter_config = make_adapter_config(
            "CAUSAL_LM",
            rank=settings.rank,
            alpha=settings.alpha,
            dropout=settings.dropout,
            target_modules={path.rpartition(".")[2] for path in paths}
            if isinstance(names, str)
            else names,
            base_model=base_model,
        )

    @property
    def device(self) -> torch.device:
        return self.get_base_model().device

    def get_base_model(self) -> Llama:
        base = self.base_model.get_submodule("model")
        assert isinstance(base, Llama)
        return base
