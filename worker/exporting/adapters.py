"""Adapters in the layout of the PEFT library, which names the base model on the hub."""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.exporting.errors import UnsupportedExport
from worker.exporting.native_classes import find_native_head
from worker.exporting.source import ExportSource
from worker.modeling import ADAPTER_WEIGHTS_FILE

PEFT_PREFIX = "base_model.model."
HEAD_FILE = "head.safetensors"
# Settings of our adapters that change what is computed; PEFT has its own defaults for all others.
KEPT_SETTINGS = (
    "alpha_pattern",
    "fan_in_fan_out",
    "lora_alpha",
    "lora_bias",
    "r",
    "rank_pattern",
    "use_dora",
    "use_rslora",
)


def write_generative(source: ExportSource, output: Path) -> str:
    """Write the adapter of a generative model; returns how to load it."""
    # The weights already have PEFT's names. No tokenizer goes with them: AutoPeftModel would cut
    # the base's embeddings to its length.
    shutil.copyfile(source.adapter_folder / ADAPTER_WEIGHTS_FILE, output / ADAPTER_WEIGHTS_FILE)
    _build_config(source, "CAUSAL_LM").save_pretrained(str(output))
    if source.hub is None:
        return _explain_local_base(source, "AutoModelForCausalLM")
    return f"""```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("{source.hub.repository}"{_revision_argument(source)})
```"""


def write_encoder(source: ExportSource, output: Path) -> str:
    """Write the adapter of an encoder or classifier, and its head; returns how to load it."""
    task = source.task
    assert task is not None
    if task.tuning == "full":
        raise UnsupportedExport(
            "This model was fine-tuned in full and has no adapter. Export it as hf or onnx."
        )
    tensors = load_file(source.adapter_folder / ADAPTER_WEIGHTS_FILE)
    head = {
        name: tensors.pop(f"{PEFT_PREFIX}head.{name}")
        for name in ("weight", "bias")
        if f"{PEFT_PREFIX}head.{name}" in tensors
    }
    native = find_native_head(source) if head else None
    if native is None:
        return _write_backbone_adapter(source, output, tensors, head)
    renamed = {
        name.replace(PEFT_PREFIX, f"{PEFT_PREFIX}{native.prefix}.", 1): tensor
        for name, tensor in tensors.items()
    }
    renamed |= {f"{PEFT_PREFIX}{native.name}.{name}": tensor for name, tensor in head.items()}
    _save(renamed, output / ADAPTER_WEIGHTS_FILE)
    config = _build_config(source, native.task_type, modules_to_save=[native.name])
    config.save_pretrained(str(output))
    auto_class = f"AutoModelFor{native.auto_name}"
    labels = f", num_labels={len(head['bias'])}"
    if source.hub is None:
        return _explain_local_base(source, auto_class, labels)
    return f"""```python
from peft import AutoPeftModelFor{native.auto_name}
from transformers import AutoTokenizer

model = AutoPeftModelFor{native.auto_name}.from_pretrained("FOLDER"{labels})
tokenizer = AutoTokenizer.from_pretrained("{source.hub.repository}"{_revision_argument(source)})
```"""


def _write_backbone_adapter(
    source: ExportSource, output: Path, tensors: dict[str, Tensor], head: dict[str, Tensor]
) -> str:
    """Write an adapter of the model without a head, and the head in a file of its own.

    transformers has no class for a linear head on pooled states that PEFT could load.
    """
    _save(tensors, output / ADAPTER_WEIGHTS_FILE)
    _build_config(source, "FEATURE_EXTRACTION").save_pretrained(str(output))
    usage = _explain_local_base(source, "AutoModel")
    if not head:
        return usage
    assert source.task is not None
    _save(head, output / HEAD_FILE)
    return usage + (
        f"\n\n`{HEAD_FILE}` has the head: `logits = pooled @ weight.T + bias`, where `pooled` is "
        f"the {source.task.pooling} of the last hidden states. The export `hf` has both in one "
        "model."
    )


def _build_config(source: ExportSource, task_type: str, **more: Any) -> LoraConfig:
    ours = source.adapter_config
    kept = {name: ours[name] for name in KEPT_SETTINGS if ours.get(name)}
    hub = source.hub
    return LoraConfig(
        task_type=task_type,
        target_modules=sorted(ours["target_modules"]),
        lora_dropout=float(ours.get("lora_dropout") or 0.0),
        inference_mode=True,
        base_model_name_or_path=source.base.id if hub is None else hub.repository,
        revision=None if hub is None else hub.revision,
        **kept,
        **more,
    )


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    contiguous = {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata={"format": "pt"})


def _revision_argument(source: ExportSource) -> str:
    if source.hub is None or source.hub.revision is None:
        return ""
    return f', revision="{source.hub.revision}"'


def _explain_local_base(source: ExportSource, auto_class: str, arguments: str = "") -> str:
    base = "BASE" if source.hub is None else source.hub.repository
    revision = _revision_argument(source)
    note = (
        f"\n\n`BASE` is your copy of the base model, `{source.base.id}`: the catalog that this "
        "model was trained with does not say where it is on the hub."
    )
    return f"""```python
from peft import PeftModel
from transformers import {auto_class}

base = {auto_class}.from_pretrained("{base}"{revision}{arguments})
model = PeftModel.from_pretrained(base, "FOLDER")
```""" + (note if source.hub is None else "")
