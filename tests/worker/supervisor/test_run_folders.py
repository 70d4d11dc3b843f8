"""Run folders: the threads of training processes, and checksums that they need not compute."""

import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.catalog import CatalogModel, ModelKind
from app.settings import Settings
from worker import model_cache
from worker.model_cache import READY_FILE, get_cache_folder, is_cached
from worker.run_folder import RunFolder, write_manifest
from worker.supervisor.run_folders import _make_spec, divide_cores, get_model_cache


@pytest.mark.parametrize(
    ("cores", "jobs", "threads"), [(8, 1, 8), (8, 3, 2), (2, 4, 1), (None, 2, 1)]
)
def test_jobs_of_one_trainer_divide_its_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, jobs: int, threads: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert divide_cores(jobs) == threads


def test_a_job_is_told_the_checksums_that_its_trainer_has_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    model = CatalogModel(
        id="large",
        source=f"hf:none/none@{40 * '0'}",
        kind=ModelKind.CAUSAL,
        methods=("supervised",),
        context_length=512,
    )
    models = get_model_cache(settings)
    cached = get_cache_folder(model, models)
    cached.mkdir(parents=True)
    (cached / "model.safetensors").write_text("weights")
    (cached / READY_FILE).write_text(model.source)
    write_manifest(cached)
    assignment: Any = SimpleNamespace(
        job_id="ftjob-1",
        attempt=1,
        method="supervised",
        hyperparameters={},
        seed=1,
        base_model=model.id,
        micro_batch_size=None,
        test_metrics=(),
        created_at=datetime.now(UTC),
        compare_with_engine=True,
    )
    monkeypatch.setattr(model_cache, "_checksums", {})
    assert _make_spec(assignment, settings, model, None).checksums == {}
    assert is_cached(model, models)
    folder = RunFolder(tmp_path)
    folder.write_spec(_make_spec(assignment, settings, model, None))

    # In the training process.
    monkeypatch.setattr(model_cache, "_checksums", {})
    monkeypatch.setattr(model_cache, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    model_cache.remember_checksums(folder.read_spec().checksums)
    assert is_cached(model, models)

    # Another file of the same size is read, whatever was told of the one before.
    monkeypatch.setattr(model_cache, "file_sha256", lambda path: "another")
    (cached / "model.safetensors").write_text("changed")
    assert not is_cached(model, models)
