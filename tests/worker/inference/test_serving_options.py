"""Serving honours an adapter's rendering options and the base model's generation_config.json."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import zeros
from transformers import PreTrainedTokenizerFast

from app.catalog import Catalog, CatalogModel
from app.errors import NotFound
from app.settings import Settings
from app.wire.engine import ChatCompletionRequest, LoadAdapterRequest
from worker.inference.adapter_format import read_rendering_options
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.chat_prompt import render_prompt
from worker.inference.fair_executor import FairExecutor
from worker.inference.generation import _sampling_params
from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.loaded_model import LoadedModel
from worker.inference.registry import ModelRegistry, ServedCausalModel
from worker.inference.vocabulary import Vocabulary
from worker.model.generation_config import GenerationConfig
from worker.model.rendering import Renderer, RenderingOptions
from worker.modeling import ADAPTER_WEIGHTS_FILE

DATED = (
    "{{ strftime_now('%d %b %Y') }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}{{ m.reasoning_content }}<|im_end|>{% endfor %}<|im_start|>assistant<think>"
)
OPTIONS = RenderingOptions(now="2024-05-06T00:00:00", thinking=False)


@pytest.fixture
def loaded(tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    """A base model without weights, whose template shows the date and begins reasoning."""
    dated = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        chat_template=DATED,
    )
    engine: Any = None
    return LoadedModel(
        engine,
        Renderer(dated, 512),
        Vocabulary(dated),
        FairExecutor(1, "rendering"),
        GrammarCompiler(Vocabulary(dated), ()),
        GenerationConfig(temperature=0.6, top_p=0.9),
    )


def make_request(**more: Any) -> ChatCompletionRequest:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "thought"},
        {"role": "user", "content": "c"},
    ]
    return ChatCompletionRequest.model_validate({"model": "tiny", "messages": messages, **more})


def test_an_adapters_options_are_read_and_rendered(
    loaded: LoadedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    metadata = {"format": "pt", **OPTIONS.to_metadata(DATED)}
    save_file({"a": zeros(1)}, tmp_path / ADAPTER_WEIGHTS_FILE, metadata=metadata)
    files = AdapterFiles("prefix", tmp_path)
    options = read_rendering_options(files.folder)
    assert options == OPTIONS
    served = ServedCausalModel("tuned", loaded, files, options)
    text = str(tokenizer.decode(asyncio.run(render_prompt(make_request(), served, "p")).ids))
    assert text.startswith("06 May 2024")
    assert "b" + "thought" + "<|im_end|>" in text
    assert text.endswith("<think>\n\n</think>\n\n"), "the job had no reasoning"
    base = ServedCausalModel("tiny", loaded, None)
    text = str(tokenizer.decode(asyncio.run(render_prompt(make_request(), base, "p")).ids))
    assert "2024" not in text
    assert text.endswith("<think>")


def test_adapters_of_earlier_versions_have_no_options(tmp_path: Path) -> None:
    for metadata in ({"format": "pt"}, {"luthier_rendering": "{"}, {"luthier_rendering": "[]"}):
        save_file({"a": zeros(1)}, tmp_path / ADAPTER_WEIGHTS_FILE, metadata=metadata)
        assert read_rendering_options(tmp_path) == RenderingOptions()


def test_an_adapter_that_is_evicted_while_it_is_loaded_is_not_found(
    loaded: LoadedModel, tiny_model: CatalogModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = SimpleNamespace(check_adapter=lambda files: None)
    engine: Any = SimpleNamespace(decoder=decoder)
    served = replace(loaded, engine=engine)
    monkeypatch.setattr("worker.inference.registry.load_model", lambda *_, **__: served)
    adapters: Any = SimpleNamespace(fetch=lambda prefix: AdapterFiles(prefix, tmp_path / "evicted"))
    registry = ModelRegistry(
        Catalog([tiny_model]), Settings(home=tmp_path), cache=tmp_path, adapters=adapters
    )
    request = LoadAdapterRequest(
        lora_name="ft:tiny:acme::Abcd1234", lora_path="a/b", base_model_name=tiny_model.id
    )
    with pytest.raises(NotFound):
        asyncio.run(registry.load_adapter(request))


def test_a_base_model_in_a_bucket_is_fetched_with_the_engines_own_settings(
    loaded: LoadedModel, tiny_model: CatalogModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    monkeypatch.setattr("worker.inference.registry.load_model", lambda *_, **__: loaded)
    monkeypatch.setattr(
        "worker.inference.registry.fetch_from_bucket", lambda *arguments: fetched.append(arguments)
    )
    settings = Settings(home=tmp_path, s3_bucket="of-this-engine")
    stored = replace(tiny_model, source="s3://models/tiny")
    adapters: Any = None
    registry = ModelRegistry(Catalog([stored]), settings, cache=tmp_path, adapters=adapters)
    assert asyncio.run(registry.resolve(stored.id)).base is loaded
    assert fetched == [(stored, tmp_path, settings)]


def test_the_models_sampling_values_are_defaults(loaded: LoadedModel) -> None:
    default = _sampling_params(make_request(), loaded, None)
    assert (default.temperature, default.top_p) == (0.6, 0.9)
    chosen = _sampling_params(make_request(temperature=0, top_p=1), loaded, None)
    assert (chosen.temperature, chosen.top_p) == (0, 1)
