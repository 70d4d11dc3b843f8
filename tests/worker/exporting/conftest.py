"""Tiny fine-tuned models to export, each with the numbers that the service computes for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, BertConfig, ModernBertConfig, PretrainedConfig

from app.catalog import CatalogModel, ModelKind
from app.recipes.chat import LoraSettings
from tests.worker.conftest import PAD, words_tokenizer
from worker.encoding.backbone import load_backbone
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.export_spec import ExportSpec
from worker.exporting.conversion import convert
from worker.modeling import adapter_parameters, add_adapter, load_base, save_adapter
from worker.training.encoders.methods import num_outputs
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora, enable_full_tuning

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FACTS: dict[str, Any] = {
    "job_id": "ftjob-abc",
    "created_at": "2026-11-29T07:00:00+00:00",
    "method": "supervised",
    "seed": 7,
    "hyperparameters": {"n_epochs": 3, "learning_rate": 0.00012345678},
    "trained_tokens": 1234,
    "step": 9,
    "start_model": None,
    "training_file": {"sha256": "ab" * 32, "examples": 12, "format": "chat"},
    "validation_file": None,
    "metrics": {"step": 9, "train_loss": 0.25, "full_valid_loss": 0.5},
}

ENCODER_CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "bert": lambda: BertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=PAD,
    ),
    "modernbert": lambda: ModernBertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        pad_token_id=PAD,
        bos_token_id=0,
        cls_token_id=0,
        eos_token_id=2,
        sep_token_id=2,
        reference_compile=False,
    ),
}


def export(
    base: CatalogModel,
    adapter: Path,
    format_: str,
    output: Path,
    method: str = "supervised",
    *,
    name: str = "ft:tiny:acme::Abcd1234",
) -> Path:
    """Convert as a trainer does; returns the folder of the export."""
    spec = ExportSpec(
        model_name=name,
        folder_name="tiny-acme-Abcd1234",
        format=format_,
        model=base.to_json(),
        model_cache=str(output.with_name("cache")),
        facts={**FACTS, "method": method},
        threads=1,
    )
    output.mkdir()
    convert(spec, adapter, output)
    return output


def tune_causal(base: CatalogModel, adapter: Path) -> Callable[[list[int]], torch.Tensor]:
    """Write an adapter with an effect; returns the tuned model as logits of token ids."""
    folder = Path(base.source.removeprefix("path:"))
    model = add_adapter(
        load_base(folder, dtype=torch.float32, device=CPU),
        rank=4,
        alpha=8,
        base_model=base.id,
        seed=1,
    )
    torch.manual_seed(2)
    for name, parameter in adapter_parameters(model).items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2)
    adapter.mkdir()
    save_adapter(model, adapter)

    def compute(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
        return result

    return compute


def make_encoder_base(folder: Path, model_type: str = "bert") -> CatalogModel:
    torch.manual_seed(0)
    AutoModel.from_config(ENCODER_CONFIGS[model_type]()).save_pretrained(folder)
    words_tokenizer(token_types=model_type == "bert").save_pretrained(folder)
    return CatalogModel(
        id="tiny-encoder",
        source=f"path:{folder}",
        kind=ModelKind.ENCODER,
        methods=("classification",),
        context_length=64,
        hub=f"acme/tiny@{COMMIT}",
        license="mit",
    )


def tune_encoder(base: CatalogModel, task: EncoderTask, adapter: Path) -> Encoder:
    """Write an adapter with an effect, in the trainer's format; returns the trainer's model."""
    folder = Path(base.source.removeprefix("path:"))
    tokenizer = EncoderTokenizer(words_tokenizer(token_types="bert" in folder.name), 64)
    torch.manual_seed(1)
    encoder = Encoder(
        load_backbone(folder, dtype=torch.float32, device=CPU, max_length=64),
        task,
        tokenizer,
        num_outputs=num_outputs(task),
    )
    if task.tuning == "full":
        enable_full_tuning(encoder, torch.float32)
    else:
        add_lora(encoder, LoraSettings(rank=4, alpha=8))
    weights = EncoderWeights(encoder, base.id, LoraSettings(rank=4, alpha=8))
    for parameter in weights.parameters().values():
        parameter.data += torch.randn_like(parameter) * 0.1
    adapter.mkdir()
    weights.save(adapter)
    return encoder


@pytest.fixture
def causal_base(tiny_model: CatalogModel) -> CatalogModel:
    return tiny_model
