"""models.toml, its error messages, and the names of fine-tuned models."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from app.catalog import METHODS_BY_KIND, Catalog, CatalogError, CatalogModel, FineTunedModelName
from app.engine_options import EngineOptions
from app.jobs.file_checks import FORMATS_BY_METHOD
from app.jobs.hyperparameters import HYPERPARAMETERS_BY_METHOD, Method
from tests.conftest import ROOT

VALID = """
[[model]]
id = "base-1"
source = "path:/models/base-1"
kind = "causal"
methods = ["supervised"]
context_length = 2048
aliases = ["gpt-4o-mini-2024-07-18", "owner/base-1"]
"""
MODEL = CatalogModel(
    id="base-1",
    source="path:/models/base-1",
    kind="causal",
    methods=("supervised",),
    context_length=2048,
    aliases=("gpt-4o-mini-2024-07-18", "owner/base-1"),
)


def load(folder: Path, text: str) -> Catalog:
    path = folder / "models.toml"
    path.write_text(text)
    return Catalog.load(path)


def test_model_is_found_by_id_and_aliases(tmp_path: Path) -> None:
    catalog = load(tmp_path, VALID)
    assert list(catalog) == [MODEL]
    for name in ("base-1", "gpt-4o-mini-2024-07-18", "owner/base-1"):
        assert catalog.get(name) == MODEL
    assert catalog.get("base-2") is None


def test_shipped_catalog_is_valid() -> None:
    catalog = Catalog.load(Path(__file__).parents[2] / "models.toml")
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2"} <= {model.id for model in catalog}


def test_every_method_has_hyperparameters_and_formats() -> None:
    methods = {method for kind_methods in METHODS_BY_KIND.values() for method in kind_methods}
    assert methods <= set(get_args(Method.model_fields["type"].annotation))
    assert methods <= FORMATS_BY_METHOD.keys()
    assert set(METHODS_BY_KIND["encoder"]) <= HYPERPARAMETERS_BY_METHOD.keys()


def test_json_round_trip() -> None:
    assert CatalogModel.from_json(json.loads(json.dumps(MODEL.to_json()))) == MODEL


def test_json_has_no_keys_of_engines() -> None:
    """It is read by training processes, and an argument of one that downloads models."""
    options = EngineOptions(environment=("HF_TOKEN=hf_secret",), arguments=("--api-key=secret",))
    model = replace(MODEL, engine="http://user:secret@engine.example", engine_options=options)
    assert "secret" not in json.dumps(model.to_json())
    assert CatalogModel.from_json(model.to_json()) == replace(MODEL, engine=None)


INVALID = {
    "no id": (VALID.replace('id = "base-1"', ""), "'id'"),
    "an unknown field": (VALID + "contxt = 1\n", "'contxt'"),
    "an id with a colon": (
        VALID.replace('"base-1"', '"ft:base"'),
        "'ft:base' is not a valid model id",
    ),
    "an id with parent folders": (VALID.replace('"base-1"', '"a/../../b"'), "not a valid model id"),
    "an id with a line feed": (VALID.replace('"base-1"', '"base\\n"'), "not a valid model id"),
    "an id too long": (VALID.replace('"base-1"', '"' + "x" * 129 + '"'), "not a valid model id"),
    "an id that is a number": (VALID.replace('"base-1"', "1"), "1 is not a valid model id"),
    "a bad alias": (
        VALID.replace("owner/base-1", "owner base"),
        "'owner base' is not a valid model id",
    ),
    "an alias that is not a list": (
        VALID.replace('["gpt-4o-mini-2024-07-18", "owner/base-1"]', '"x"'),
        "lists",
    ),
    "no methods": (VALID.replace('methods = ["supervised"]', ""), "lists of strings"),
    "methods that are no list": (
        VALID.replace('["supervised"]', '"supervised"'),
        "lists of strings",
    ),
    "an unknown kind": (VALID.replace("causal", "casual"), "not 'casual'"),
    "a source without a scheme": (VALID.replace("path:/models/base-1", "base-1"), "source must be"),
    "a source with an unknown scheme": (
        VALID.replace("path:/models/base-1", "ftp://models/base-1"),
        "model 'base-1': source must be 'package:…', 'path:…', 'hf:…' or 's3://…', not 'ftp://models/",
    ),
    "a source without a location": (VALID.replace("path:/models/base-1", "hf:"), "not 'hf:'"),
    "a65: a hub source without a commit": (
        VALID.replace("path:/models/base-1", "hf:owner/name"),
        "names no commit; write 'hf:owner/name@COMMIT' with the 40 hex digits",
    ),
    "a65: a hub source at a branch": (
        VALID.replace("path:/models/base-1", "hf:owner/name@main"),
        "names no commit",
    ),
    "a65: a hub source at a short commit": (
        VALID.replace("path:/models/base-1", "hf:owner/name@" + "a" * 12),
        "names no commit",
    ),
    "a source that is a number": (VALID.replace('"path:/models/base-1"', "1"), "source must be"),
    "an unknown method": (
        VALID.replace("supervised", "superwised"),
        "causal models support supervised, dpo, classification, not 'superwised'",
    ),
    "a method of no kind": (
        VALID.replace("supervised", "prayer"),
        "classification, not 'prayer'",
    ),
    "a method of another kind": (
        VALID.replace("causal", "encoder"),
        "models support classification, token_classification, question_answering, embedding",
    ),
    "a context length of 0": (
        VALID.replace("2048", "0"),
        "context_length must be a positive number",
    ),
    "a context length of true": (VALID.replace("2048", "true"), "context_length must be"),
    "a quantization that is unknown": (
        VALID + 'quantization = "int4"\n',
        "quantization must be 'int8', not 'int4'",
    ),
    "a quantized model of another engine": (
        VALID + 'quantization = "int8"\nengine = "vllm"\n',
        "quantization is for the built-in engine",
    ),
    "a quantized encoder": (
        VALID.replace('"causal"', '"encoder"').replace("supervised", "embedding")
        + 'quantization = "int8"\n',
        "quantization is for causal models",
    ),
    "the same id twice": (VALID + VALID, "the name 'base-1' is used by two models"),
    "an alias that is an id": (
        VALID + VALID.replace('id = "base-1"', 'id = "base-2"'),
        "two models",
    ),
    "single brackets": (VALID.replace("[[model]]", "[model]"), "start each model with [[model]]"),
    "invalid TOML": ("models: [a]", "is not valid TOML"),
}


def test_a_quantization_is_in_the_specs_of_jobs_that_have_one(tmp_path: Path) -> None:
    (model,) = load(tmp_path, VALID + 'quantization = "int8"\n')
    assert CatalogModel.from_json(model.to_json()) == model
    assert model.to_json()["quantization"] == "int8"
    assert "quantization" not in MODEL.to_json(), "a trainer of an earlier version refuses it"


@pytest.mark.parametrize(("text", "words"), INVALID.values(), ids=INVALID)
def test_error_messages(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CatalogError) as raised:
        load(tmp_path, text)
    assert words in str(raised.value)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="does not exist; set LUTHIER_MODELS_FILE"):
        Catalog.load(tmp_path / "models.toml")
    with pytest.raises(CatalogError, match="cannot be read"):
        Catalog.load(tmp_path)
    (tmp_path / "models.toml").write_bytes(b"\xff")
    with pytest.raises(CatalogError, match="is not valid TOML"):
        Catalog.load(tmp_path / "models.toml")


@pytest.mark.parametrize(
    "name",
    [
        FineTunedModelName("base-1", "acme", "", "9uJPavMj"),
        FineTunedModelName("base-1", "acme", "my suffix", "9uJPavMj", step=200),
        FineTunedModelName("owner/base.1", "a-b", "x", "9uJPavMj", step=0),
    ],
)
def test_name_round_trip(name: FineTunedModelName) -> None:
    assert FineTunedModelName.parse(str(name)) == name


def test_name_has_openais_form() -> None:
    name = FineTunedModelName("gpt-4o-mini-2024-07-18", "acme", "", "9uJPavMj", step=200)
    assert str(name) == "ft:gpt-4o-mini-2024-07-18:acme::9uJPavMj:ckpt-step-200"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "base-1",
        "ft:base-1",
        "ft:base-1:acme:9uJPavMj",
        "ft::acme::9uJPavMj",
        "ft:base-1:Acme::9uJPavMj",
        "ft:base-1:acme::9uJPavM",
        "ft:base-1:acme::9uJPavMj\n",
        "ft:base-1:acme::9uJPavMj:ckpt-step-",
        "ft:base-1:acme::9uJPavMj:ckpt-step-1:x",
        "ft:base-1:acme:a:b:9uJPavMj",
    ],
)
def test_other_names_are_not_parsed(text: str) -> None:
    assert FineTunedModelName.parse(text) is None


def test_the_entries_to_uncomment_are_valid() -> None:
    """`models.toml` lists models of the hub as comments, each with its commit and licence."""
    text = (ROOT / "models.toml").read_text()
    listed = text[text.index("# Models of the hub") :]
    entries = re.findall(r"^# (\[\[model\]\]|[a-z_]+ = .*)$", listed, re.MULTILINE)
    document = tomllib.loads("\n".join(entries))
    models = [CatalogModel.from_json(entry) for entry in document["model"]]
    assert len(models) >= 14
    assert all(model.hub_model and model.hub_model.revision for model in models)
    assert all(model.license for model in models)
