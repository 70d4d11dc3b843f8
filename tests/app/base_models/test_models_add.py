"""`luthier models add`: what it says about a base model, and the entry that it writes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import CONFIG_MAPPING

from app.base_models.catalog_file import append_entry, render_entry
from app.base_models.check import (
    FAST_MODEL_TYPES,
    GGUF_MODEL_TYPES,
    NATIVE_MODEL_TYPES,
    check,
)
from app.base_models.source import BaseModelFiles, SourceUnusable, read_source
from app.catalog import Catalog, CatalogError, ModelKind
from tests.live_server import run_server
from worker.exporting.gguf_families import FAMILIES
from worker.model.llama import MODEL_TYPES

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QWEN3: dict[str, Any] = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "max_position_embeddings": 40960,
    "sliding_window": None,
}
FILES = {"config.json": 700, "tokenizer.json": 9, "model.safetensors": 3 * 2**29}


def make_files(config: dict[str, Any], **changes: Any) -> BaseModelFiles:
    values: dict[str, Any] = {
        "source": f"hf:acme/tiny@{COMMIT}",
        "sizes": FILES,
        "config": config,
        "tokenizer_config": {"chat_template": "{{ messages }}"},
        "license": "apache-2.0",
    }
    return BaseModelFiles(**values | changes)


def test_a_known_family_has_nothing_to_note() -> None:
    result = check(make_files(QWEN3))
    assert (result.kind, result.is_fast) == (ModelKind.CAUSAL, True)
    assert (result.context_length, result.weight_bytes) == (40960, 3 * 2**29)
    assert (result.problems, result.notes) == ((), ())


@pytest.mark.parametrize(
    ("config", "changes", "problem"),
    [
        (QWEN3 | {"model_type": "own", "auto_map": {}}, {}, "its own code"),
        (QWEN3, {"sizes": {"config.json": 1, "pytorch_model.bin": 1}}, "no safetensors"),
        (QWEN3, {"sizes": {"model.safetensors": 1}}, "no tokenizer"),
        (QWEN3 | {"quantization_config": {"quant_method": "gptq"}}, {}, r"quantized \(gptq\)"),
        ({}, {}, "no config.json"),
    ],
)
def test_what_cannot_be_used_is_said(
    config: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    problems = " ".join(check(make_files(config, **changes)).problems)
    assert re.search(problem, problems)


@pytest.mark.parametrize(
    ("config", "changes", "note"),
    [
        (QWEN3, {"tokenizer_config": {}}, "no chat template"),
        (QWEN3 | {"num_experts": 128}, {}, "mixture of 128 experts"),
        (QWEN3 | {"sliding_window": 4096}, {}, "one sequence at a time"),
        (
            {
                "model_type": "gemma3",
                "architectures": ["Gemma3ForConditionalGeneration"],
                "vision_config": {},
                "text_config": {"model_type": "gemma3_text", "max_position_embeddings": 131072},
            },
            {},
            "only text",
        ),
    ],
)
def test_what_works_otherwise_is_noted(
    config: dict[str, Any], changes: dict[str, Any], note: str
) -> None:
    result = check(make_files(config, **changes))
    assert result.problems == ()
    assert note in " ".join(result.notes)
    assert result.kind == ModelKind.CAUSAL


def test_an_encoder_is_recognized_and_reads_as_much_as_its_tokenizer_says() -> None:
    bert = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "max_position_embeddings": 512,
    }
    result = check(make_files(bert, tokenizer_config={"model_max_length": 256}))
    assert (result.kind, result.context_length) == (ModelKind.ENCODER, 256)


def test_the_fast_families_are_those_of_the_worker() -> None:
    assert FAST_MODEL_TYPES == set(MODEL_TYPES)
    assert set(CONFIG_MAPPING) >= NATIVE_MODEL_TYPES
    assert FAMILIES.keys() == GGUF_MODEL_TYPES


def test_code_that_transformers_does_not_need_is_no_problem() -> None:
    phi = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "auto_map": {}}
    assert check(make_files(phi)).problems == ()


def test_the_entry_is_appended_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text("# mine\n")
    files = make_files(QWEN3)
    append_entry(path, render_entry("tiny", files, check(files)))
    assert path.read_text().startswith("# mine\n\n# qwen3, 1.5 GiB of weights; the fast path\n")
    model = Catalog.load(path).get("tiny")
    assert model is not None
    assert (model.source, model.license) == (files.source, "apache-2.0")
    assert model.methods == ("supervised", "dpo", "classification")
    before = path.read_text()
    with pytest.raises(CatalogError, match="used by two models"):
        append_entry(path, render_entry("tiny", files, check(files)))
    assert path.read_text() == before


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub with one open repository, a gated one, and no other."""

    async def describe(request: Request) -> Response:
        name = request.path_params["name"]
        if name == "gated":
            return JSONResponse({}, 403, headers={"x-error-code": "GatedRepo"})
        if name != "tiny":
            return JSONResponse({}, 401, headers={"x-error-code": "RepoNotFound"})
        siblings = [{"rfilename": file, "size": size} for file, size in FILES.items()]
        card = {"license": "mit"}
        return JSONResponse({"sha": COMMIT, "siblings": siblings, "cardData": card})

    async def resolve(request: Request) -> Response:
        assert request.path_params["revision"] == COMMIT
        return Response(json.dumps(QWEN3))

    app = Starlette(
        routes=[
            Route("/api/models/acme/{name}/revision/{revision}", describe),
            Route("/acme/{name}/resolve/{revision}/config.json", resolve),
        ]
    )
    with run_server(app) as url:
        yield url


def test_a_repository_is_read_at_its_newest_commit(hub: str) -> None:
    files = read_source("hf:acme/tiny", endpoint=hub, token=None)
    assert files == BaseModelFiles(
        source=f"hf:acme/tiny@{COMMIT}", sizes=FILES, config=QWEN3, license="mit"
    )


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("hf:acme/gated", "Accept its licence at .*/acme/gated, and set HF_TOKEN"),
        ("hf:acme/none", "does not exist, or is private"),
        ("path:/nowhere", "There is no folder /nowhere"),
        ("acme/tiny", "Write hf:OWNER/NAME or path:/FOLDER"),
    ],
)
def test_a_source_that_cannot_be_read_is_a_sentence(hub: str, source: str, sentence: str) -> None:
    with pytest.raises(SourceUnusable, match=sentence):
        read_source(source, endpoint=hub, token=None)


def test_a_hub_that_does_not_respond_is_a_sentence() -> None:
    with pytest.raises(SourceUnusable, match=r"cannot be reached.*path:/FOLDER"):
        read_source("hf:acme/tiny", endpoint="http://127.0.0.1:9", token=None)


def test_a_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN3))
    (tmp_path / "model.safetensors").write_bytes(b"12345678")
    files = read_source(f"path:{tmp_path}", endpoint="http://unused", token=None)
    assert files.config == QWEN3
    assert files.sizes["model.safetensors"] == 8
