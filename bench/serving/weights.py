"""Weights that every engine serves: one base model and random adapters, in each engine's format."""

import json
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from typing import Any

import gguf
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig

from app.catalog import Catalog, CatalogModel
from worker.export_spec import ExportSpec
from worker.exporting.gguf_families import FAMILIES
from worker.exporting.gguf_file import MODEL_FILE, write_gguf
from worker.exporting.source import ExportSource
from worker.model_sources import materialize
from worker.modeling import ADAPTER_WEIGHTS_FILE, add_adapter, load_base, save_adapter
from worker.run_folder import write_manifest

RANK = 16
ALPHA = 32
PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Weights:
    """Folders with the base model and the adapters; `cache` is of converted base models."""

    model: CatalogModel
    cache: Path
    base: Path
    adapters: list[Path]
    folder: Path

    def base_gguf(self) -> Path:
        """The base model for llama.cpp, in its own precision, by our own export."""
        output = self.folder / "gguf"
        if not (output / MODEL_FILE).exists():
            output.mkdir()
            spec = ExportSpec(
                model_name=self.model.id,
                folder_name="gguf",
                format="gguf",
                model=self.model.to_json(),
                model_cache=str(self.cache),
                facts={},
            )
            write_gguf(ExportSource(spec, self.model, self.base, self._untrained()), output)
        return output / MODEL_FILE

    def quantized_gguf(self, quantize: Path) -> Path:
        """The same in Q8_0, by llama.cpp's `llama-quantize`."""
        output = self.folder / "q8_0.gguf"
        if not output.exists():
            command = [str(quantize), str(self.base_gguf()), str(output), "q8_0"]
            run(command, check=True, capture_output=True)
        return output

    def adapter_ggufs(self) -> list[Path]:
        return [self._adapter_gguf(adapter) for adapter in self.adapters]

    def _adapter_gguf(self, adapter: Path) -> Path:
        """An adapter for llama.cpp; rows of query and key are reordered like the model's own."""
        path = self.folder / f"{adapter.name}.gguf"
        if path.exists():
            return path
        config: Any = AutoConfig.from_pretrained(self.base)
        family = FAMILIES[config.model_type](config)
        names = gguf.get_tensor_name_map(family.arch, config.num_hidden_layers)
        writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.arch])
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, ALPHA)
        for name, tensor in load_file(adapter / ADAPTER_WEIGHTS_FILE).items():
            layer, _, part = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
            if part == "lora_B":
                tensor = family.convert(f"{layer}.weight", tensor)
            target = names.get_name(layer)
            writer.add_tensor(f"{target}.weight.{part.lower()}", tensor.float().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def _untrained(self) -> Path:
        return self.folder / "untrained"


def prepare(model_id: str, cache: Path, folder: Path, count: int) -> Weights:
    """Write `count` different random adapters on the linear layers, in PEFT's format.

    They are bfloat16, the precision in which every engine computes with them.
    """
    model = Catalog.load(Path("models.toml")).get(model_id)
    if model is None:
        raise SystemExit(f"models.toml has no model {model_id}.")
    base = materialize(model, cache)
    loaded = load_base(base, dtype=torch.bfloat16, device=torch.device("cpu"))
    tuned = add_adapter(loaded, rank=RANK, alpha=ALPHA, base_model=model_id, seed=0)
    (folder / "untrained").mkdir()
    save_adapter(tuned, folder / "untrained")
    adapters = []
    for number in range(count):
        torch.manual_seed(number)
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                std = 0.02 if "lora_B" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std)
                parameter.data = parameter.data.bfloat16().float()
        adapters.append(folder / f"adapter-{number:02}")
        adapters[-1].mkdir()
        save_adapter(tuned, adapters[-1])
        write_manifest(adapters[-1])
    return Weights(model, cache, base, adapters, folder)


def write_catalog(weights: Weights, *, is_int8: bool) -> Path:
    """Write a catalog of the base model alone, held in 8 bits or in its own precision."""
    model = weights.model
    quantization = 'quantization = "int8"\n' if is_int8 else ""
    path = weights.folder / "models.toml"
    path.write_text(
        f'[[model]]\nid = "{model.id}"\nsource = "{model.source}"\nkind = "{model.kind}"\n'
        f"methods = {list(map(str, model.methods))}\n"
        f"context_length = {model.context_length}\n{quantization}"
    )
    return path


def read_end_tokens(base: Path) -> list[int]:
    """The tokens that end an answer, by generation_config.json."""
    config = json.loads((base / "generation_config.json").read_bytes())
    ends = config.get("eos_token_id") or []
    return [ends] if isinstance(ends, int) else list(ends)
