"""What the fork server loads before jobs come: nothing that takes long, or that is of no use."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.catalog import CatalogModel, ModelKind
from tests.worker.training.conftest import MakeRun
from worker import model_cache
from worker.fork_request import ForkRequest, PreloadRequest
from worker.model_cache import READY_FILE, get_cache_folder
from worker.run_folder import write_manifest
from worker.training import fork_server, preloading


def make_model(kind: ModelKind) -> CatalogModel:
    return CatalogModel(
        id=kind,
        source=f"hf:none/none@{40 * '0'}",
        kind=kind,
        methods=("supervised",) if kind is ModelKind.CAUSAL else ("classification",),
        context_length=512,
    )


@pytest.mark.parametrize("is_large", [True, False])
def test_no_checksums_of_large_models_are_computed(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    model = make_model(ModelKind.CAUSAL)
    folder = get_cache_folder(model, tmp_path)
    shutil.copytree(tiny_folder, folder)
    (folder / READY_FILE).write_text(model.source)
    write_manifest(folder)
    hashed = []

    def recall_sha256(path: Path) -> str:
        hashed.append(path)
        return model_cache.file_sha256(path)

    monkeypatch.setattr(model_cache, "recall_sha256", recall_sha256)
    monkeypatch.setattr(preloading, "_preloaded", None)
    size = sum(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(preloading, "MAX_HASHED_BYTES", size - is_large)
    preloading.preload(model.to_json(), tmp_path)
    assert (not hashed, preloading._preloaded is None) == (is_large, is_large)


def test_a_large_model_is_loaded_once_a_job_brings_its_checksums(
    tiny_folder: Path, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(ModelKind.CAUSAL)
    folder = get_cache_folder(model, tmp_path)
    shutil.copytree(tiny_folder, folder)
    (folder / READY_FILE).write_text(model.source)
    write_manifest(folder)
    monkeypatch.setattr(model_cache, "_checksums", {})
    assert model_cache.is_cached(model, tmp_path)
    computed = json.loads(json.dumps(model_cache.list_checksums(folder)))

    monkeypatch.setattr(model_cache, "_checksums", {})
    monkeypatch.setattr(model_cache, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    monkeypatch.setattr(preloading, "_preloaded", None)
    monkeypatch.setattr(preloading, "MAX_HASHED_BYTES", 1000)
    # It would keep the tests' objects from being collected.
    monkeypatch.setattr(fork_server, "_settle", lambda: None)
    for checksums, is_loaded in (({}, False), (computed, True)):
        run = make_run(model=model.to_json(), model_cache=str(tmp_path), checksums=checksums)
        request = ForkRequest(
            parent=1,
            run_folder=str(run.path),
            argument=str(run.path),
            log=str(run.log),
            environment={},
            drops_privileges=False,
        )
        fork_server._preload(request)
        assert (preloading._preloaded is not None) == is_loaded
        shutil.rmtree(run.path)


@pytest.mark.parametrize("has_accelerator", [True, False])
def test_with_an_accelerator_only_encoders_are_loaded_before_the_first_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_accelerator: bool
) -> None:
    loaded = []

    def preload(entry: dict[str, Any], cache: Path, *, is_encoder: bool) -> None:
        loaded.append((entry["id"], cache, is_encoder))

    monkeypatch.setattr(preloading, "preload", preload)
    monkeypatch.setattr(preloading, "has_accelerator", lambda: has_accelerator)
    # It would keep the tests' objects from being collected.
    monkeypatch.setattr(fork_server, "_settle", lambda: None)
    entries = [make_model(kind).to_json() for kind in (ModelKind.ENCODER, ModelKind.CAUSAL)]
    fork_server._preload_likely(PreloadRequest(preload=entries, models=str(tmp_path)))
    encoder, chat = (ModelKind.ENCODER, tmp_path, True), (ModelKind.CAUSAL, tmp_path, False)
    assert loaded == ([encoder] if has_accelerator else [encoder, chat])
