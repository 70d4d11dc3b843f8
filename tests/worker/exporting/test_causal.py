"""Exports of generative models, loaded by the libraries that they are for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.catalog import CatalogModel
from tests.worker.exporting.conftest import COMMIT, export, tune_causal
from worker.exporting.errors import UnsupportedExport

# PEFT 0.21 reads it.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

IDS = [5, 6, 7, 80, 81, 3]


def test_peft_loads_the_adapter_with_equal_logits(tiny_model: CatalogModel, tmp_path: Path) -> None:
    expected = tune_causal(tiny_model, tmp_path / "adapter")
    folder = export(tiny_model, tmp_path / "adapter", "peft", tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(tiny_model.source.removeprefix("path:"))
    model = PeftModel.from_pretrained(base, folder)
    torch.testing.assert_close(
        model(input_ids=torch.tensor([IDS])).logits[0], expected(IDS), atol=1e-4, rtol=0
    )


def test_the_adapter_names_its_base_on_the_hub(tiny_model: CatalogModel, tmp_path: Path) -> None:
    base = replace(tiny_model, hub=f"acme/tiny@{COMMIT}")
    tune_causal(base, tmp_path / "adapter")
    folder = export(base, tmp_path / "adapter", "peft", tmp_path / "out")
    config = json.loads((folder / "adapter_config.json").read_bytes())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/tiny", COMMIT)
    assert config["task_type"] == "CAUSAL_LM"
    assert "luthier_task" not in config


def test_auto_peft_loads_base_and_adapter(tiny_model: CatalogModel, tmp_path: Path) -> None:
    """As from the hub: the folder that the config names is a local one here."""
    expected = tune_causal(tiny_model, tmp_path / "adapter")
    folder = export(tiny_model, tmp_path / "adapter", "peft", tmp_path / "out")
    config = json.loads((folder / "adapter_config.json").read_bytes())
    config["base_model_name_or_path"] = tiny_model.source.removeprefix("path:")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    model = AutoPeftModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(
        model(input_ids=torch.tensor([IDS])).logits[0], expected(IDS), atol=1e-4, rtol=0
    )


def test_transformers_loads_the_merged_model(tiny_model: CatalogModel, tmp_path: Path) -> None:
    expected = tune_causal(tiny_model, tmp_path / "adapter")
    folder = export(tiny_model, tmp_path / "adapter", "merged", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(
        model(input_ids=torch.tensor([IDS])).logits[0], expected(IDS), atol=1e-4, rtol=0
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False).endswith("hello<|im_end|>\n")


def test_a_family_without_gguf_is_refused_with_the_way_out(
    tiny_model: CatalogModel, tmp_path: Path
) -> None:
    tune_causal(tiny_model, tmp_path / "adapter")
    source = Path(tiny_model.source.removeprefix("path:"))
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((source / "config.json").read_bytes())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    with pytest.raises(UnsupportedExport, match=r"llama, mistral.*mamba.*Export it as merged"):
        export(
            replace(tiny_model, source=f"path:{other}"),
            tmp_path / "adapter",
            "gguf",
            tmp_path / "out",
        )


def test_the_card_states_where_the_model_comes_from(
    tiny_model: CatalogModel, tmp_path: Path
) -> None:
    base = replace(tiny_model, hub=f"acme/tiny@{COMMIT}", license="apache-2.0")
    tune_causal(base, tmp_path / "adapter")
    card = (export(base, tmp_path / "adapter", "peft", tmp_path / "out") / "README.md").read_text()
    for text in (
        "base_model: acme/tiny\n",
        "license: apache-2.0\n",
        f"`{COMMIT}`",
        "12 examples in the format chat",
        "ab" * 32,
        "| `learning_rate` | 0.000123457 |",
        "| `full_valid_loss` | 0.5 |",
        'from_pretrained("tiny-acme-Abcd1234")',
    ):
        assert text in card
    assert "None" not in card
