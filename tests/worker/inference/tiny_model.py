"""The tiny Llama of these tests, and adapters that PEFT itself adds to it."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from worker.modeling import load_base, save_adapter
from worker.run_folder import write_manifest

CPU = torch.device("cpu")


def load_tiny(folder: Path) -> PreTrainedModel:
    return load_base(folder, dtype=torch.float32, device=CPU)


def make_adapter(base: PreTrainedModel, folder: Path, **config: Any) -> PeftModel:
    """Add a LoRA with random A and B to `base` and save it to `folder`, both with PEFT."""
    with warnings.catch_warnings():
        # PEFT 0.21 warns about every model, and about one whose output layer is trained.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing|.*tied layer")
        model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    folder.mkdir()
    save_adapter(model, folder)
    write_manifest(folder)
    model.train(False)
    return model
