"""The engine's route that renders rows of training files."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.catalog import Catalog, CatalogModel, ModelKind
from app.settings import Settings
from app.storage import LocalStore
from tests.worker.conftest import words_tokenizer
from tests.worker.inference.running_engine import EngineClient, catalog_entry, running_engine
from tests.worker.inference.tiny_model import load_tiny
from worker.inference import registry
from worker.inference.adapter_cache import AdapterDiskCache
from worker.inference.registry import ModelRegistry

CHAT = {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}
TEXT = {"text": "w1 w2", "label": "a"}
FIELDS = {"method": "supervised", "format": "chat", "rows": [CHAT]}
TEXT_FIELDS = {"method": "classification", "format": "classification", "rows": [TEXT]}


@pytest.fixture(scope="module")
def engine(
    base_folder: Path, base_model: CatalogModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineClient]:
    """An engine whose encoder has a tokenizer and no weights."""
    home = tmp_path_factory.mktemp("engine")
    folder = shutil.copytree(base_folder, home / "encoder")
    (folder / "model.safetensors").unlink()
    words_tokenizer(token_types=True).save_pretrained(folder)
    entries = [
        catalog_entry(base_model),
        catalog_entry(
            base_model, id="encoder", source=f"path:{folder}", kind=ModelKind.ENCODER, methods=()
        ),
        catalog_entry(base_model, id="not-fetched", source=f"hf:nobody/nothing@{40 * 'a'}"),
        catalog_entry(base_model, id="elsewhere", engine="http://127.0.0.1:1"),
    ]
    with running_engine(home, *entries) as engine:
        yield engine


def render(engine: EngineClient, model: str, **body: Any) -> tuple[int, Any]:
    content = {"model": model, "split": "loss", **body}
    response = engine.http("POST", "/v1/render_training_rows", json=content)
    return response.status_code, response.json()


def test_chats_are_rendered(engine: EngineClient) -> None:
    status, body = render(engine, "tiny", **FIELDS)
    assert (status, body["max_tokens"], body["warnings"]) == (200, 512, [])
    (sequence,) = body["data"][0]["sequences"]
    texts = [(segment["text"], segment["has_loss"]) for segment in sequence["segments"]]
    assert texts[1:] == [("2<|im_end|>", True), ("\n", False)]


def test_texts_are_tokenized_without_the_weights(engine: EngineClient) -> None:
    status, body = render(engine, "encoder", **TEXT_FIELDS, max_tokens=3)
    assert (status, body["max_tokens"]) == (200, 3)
    (row,) = body["data"]
    assert row["labels"] == ["a"]
    assert (row["is_learned"], row["fails_job"]) == (True, False)
    _, body = render(engine, "encoder", **TEXT_FIELDS, max_tokens=3, long_rows="error")
    assert [(row["is_learned"], row["fails_job"]) for row in body["data"]] == [(False, True)]
    assert row["sequences"][0]["segments"][0]["text"] == "[CLS]w1[SEP]"
    assert row["sequences"][0]["is_truncated"]


def test_texts_for_a_classifier_of_a_chat_model_are_tokenized(engine: EngineClient) -> None:
    status, body = render(engine, "tiny", **TEXT_FIELDS)
    assert (status, body["data"][0]["labels"]) == (200, ["a"])


def test_counts_come_without_texts(engine: EngineClient) -> None:
    _, body = render(engine, "tiny", **FIELDS | {"split": None})
    (sequence,) = body["data"][0]["sequences"]
    assert (sequence["segments"], sequence["loss_token_count"]) == ([], 2)


@pytest.mark.parametrize(
    ("model", "fields", "status"),
    [
        ("unknown", FIELDS, 404),
        ("elsewhere", FIELDS, 404),
        ("not-fetched", FIELDS, 503),
        ("not-fetched", TEXT_FIELDS, 503),
        ("tiny", FIELDS | {"format": "classification", "rows": [TEXT]}, 400),
        ("encoder", TEXT_FIELDS | {"method": "question_answering"}, 400),
    ],
)
def test_rows_that_cannot_be_rendered_are_an_error(
    engine: EngineClient, model: str, fields: dict[str, Any], status: int
) -> None:
    assert render(engine, model, **fields)[0] == status


@pytest.mark.parametrize(("model", "fields"), [("tiny", FIELDS), ("tiny", TEXT_FIELDS)])
def test_facts_of_the_model_come_on_request(
    engine: EngineClient, base_folder: Path, model: str, fields: dict[str, Any]
) -> None:
    assert render(engine, model, **fields)[1]["facts"] is None
    facts = render(engine, model, **fields, include_facts=True)[1]["facts"]
    weights = load_tiny(base_folder)
    of_layers = sum(p.numel() for p in weights.model.layers.parameters() if p.dim() == 2)
    assert facts["layer_parameters"] == of_layers
    assert facts["num_parameters"] >= sum(p.numel() for p in weights.model.parameters())
    assert (facts["hidden_size"], facts["num_layers"]) == (
        weights.config.hidden_size,
        weights.config.num_hidden_layers,
    )
    assert facts["gigaflops"] > 0
    matrices = (name for name, p in weights.model.layers.named_parameters() if p.dim() == 2)
    names = {name.removesuffix(".weight").rpartition(".")[2] for name in matrices}
    assert "q_proj" in names
    assert set(facts["matrix_names"]) == names


def test_the_machine_is_measured_once_per_request(
    base_folder: Path, base_model: CatalogModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fastest measurement counts, for each width of models."""
    rates = iter([7.0, 5.0, 9.0])
    monkeypatch.setattr(registry, "measure_gigaflops", lambda _width: next(rates))
    catalog = Catalog([base_model])
    models = ModelRegistry(
        catalog,
        Settings(home=tmp_path),
        cache=tmp_path,
        adapters=AdapterDiskCache(LocalStore(tmp_path / "store"), tmp_path / "adapters"),
    )

    async def ask() -> list[float]:
        return [(await models.get_facts("tiny")).gigaflops for _ in range(3)]

    assert asyncio.run(ask()) == [7.0, 7.0, 9.0]
