"""Damaged and deleted adapters on a running engine: no wrong answer, and recovery."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import NotFoundError

from app.catalog import CatalogModel
from tests.worker.inference.running_engine import (
    PREFIX,
    TUNED_MODEL,
    EngineClient,
    make_greedy_chat,
    running_chat_engine,
)

FILES = ("adapter_config.json", "adapter_model.safetensors", "manifest.json")


@pytest.fixture
def engine(tmp_path: Path, base_folder: Path, base_model: CatalogModel) -> Iterator[EngineClient]:
    with running_chat_engine(tmp_path, base_folder, base_model) as engine:
        yield engine


def flip_a_bit(path: Path) -> bytes:
    """Flip a bit in the middle of a file; returns the content from before."""
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    return data


def cached_folders(home: Path) -> list[Path]:
    return list((home / "cache" / "adapters").glob("[!.]*"))


def ask(engine: EngineClient) -> str:
    chat = make_greedy_chat(engine.client)
    return str(chat(model=TUNED_MODEL).choices[0].message.content)


def test_a59_a_bit_flipped_on_the_engines_disk(engine: EngineClient, tmp_path: Path) -> None:
    assert engine.load_adapter().status_code == 200
    expected = ask(engine)
    for name in FILES:
        engine.http("POST", "/v1/unload_lora_adapter", json={"lora_name": TUNED_MODEL})
        assert engine.load_adapter().status_code == 200
        (folder,) = cached_folders(tmp_path)
        flip_a_bit(folder / name)
        with pytest.raises(NotFoundError):
            ask(engine)
        assert engine.load_adapter().status_code == 200, "the API loads unknown models again"
        assert ask(engine) == expected


def test_a59_a_bit_flipped_in_storage(
    engine: EngineClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.inference.adapter_cache.DAMAGE_MEMORY_SECONDS", 0.0)
    before = engine.metric("damaged_files_total")
    for name in FILES:
        path = tmp_path / "storage" / PREFIX / name
        good = flip_a_bit(path)
        for _ in range(2):
            response = engine.load_adapter()
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "model_damaged"
            assert response.headers["x-should-retry"] == "false"
        assert not cached_folders(tmp_path)
        path.write_bytes(good)
    assert engine.metric("damaged_files_total") - before == 4 * len(FILES)
    assert engine.load_adapter().status_code == 200
    assert ask(engine)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a63_a_deleted_model_is_not_on_the_engines_disk(
    engine: EngineClient, tmp_path: Path, is_loaded: bool
) -> None:
    name = TUNED_MODEL if is_loaded else "ft:tiny:luthier:forgotten:AbCdEf12"
    assert engine.load_adapter().status_code == 200
    assert ask(engine)
    body = {"lora_name": name, "lora_path": PREFIX}
    response = engine.http("POST", "/v1/unload_lora_adapter", json=body)
    assert response.status_code == (200 if is_loaded else 404)
    assert not cached_folders(tmp_path)


@pytest.mark.parametrize("path", ["../../etc", "/etc", "a//b"])
def test_an_unsafe_path_is_refused(engine: EngineClient, path: str) -> None:
    body = {"lora_name": TUNED_MODEL, "lora_path": path}
    assert engine.http("POST", "/v1/unload_lora_adapter", json=body).status_code == 400
