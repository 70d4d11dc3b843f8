"""Base models in a bucket: fetched once, and only the files that a model consists of."""

import fcntl
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.catalog import CatalogError, CatalogModel
from app.settings import Settings
from worker.bucket_models import fetch_from_bucket
from worker.model_cache import FetchStopped, ModelUnavailable, get_cache_folder, is_cached
from worker.model_sources import materialize
from worker.supervisor.base_models import MaterializeFailed, ensure_cached


def make_model(source: str) -> CatalogModel:
    values = {"id": "tiny", "source": source, "kind": "causal", "methods": [], "context_length": 9}
    return CatalogModel.from_json(values)


@pytest.fixture
def bucket(s3_settings: Settings, s3_client: Any) -> str:
    bucket = s3_settings.s3_bucket
    assert bucket is not None
    files = {
        "models/tiny/config.json": json.dumps({"model_type": "llama"}),
        "models/tiny/model.safetensors": "weights",
        "models/tiny/modeling_evil.py": "raise SystemExit",
        "models/tiny/original/consolidated.safetensors": "others",
        "models/tiny-2/config.json": "{}",
    }
    for key, text in files.items():
        s3_client.put_object(Bucket=bucket, Key=key, Body=text.encode())
    return bucket


def test_a_model_is_fetched_once(
    s3_settings: Settings, s3_client: Any, bucket: str, tmp_path: Path
) -> None:
    model = make_model(f"s3://{bucket}/models/tiny")
    with pytest.raises(ModelUnavailable):
        materialize(model, tmp_path)
    fetch_from_bucket(model, tmp_path, s3_settings)
    folder = get_cache_folder(model, tmp_path)
    assert is_cached(model, tmp_path)
    assert materialize(model, tmp_path) == folder
    names = {path.name for path in folder.iterdir()} - {"ready", "manifest.json"}
    assert names == {"config.json", "model.safetensors"}
    s3_client.delete_object(Bucket=bucket, Key="models/tiny/config.json")
    fetch_from_bucket(model, tmp_path, s3_settings)
    assert materialize(model, tmp_path) == folder


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("s3://{bucket}/models/none", "there is no config.json under this prefix"),
        ("s3://no-such-bucket-here/models/tiny", "it does not exist"),
    ],
)
def test_what_is_missing_is_a_sentence(
    s3_settings: Settings, bucket: str, tmp_path: Path, source: str, sentence: str
) -> None:
    model = make_model(source.format(bucket=bucket))
    with pytest.raises(ModelUnavailable, match=sentence):
        fetch_from_bucket(model, tmp_path, s3_settings)
    assert not is_cached(model, tmp_path)


def test_a_source_without_a_prefix_is_no_source() -> None:
    with pytest.raises(CatalogError, match="s3://BUCKET/PREFIX"):
        make_model("s3://bucket")


def test_a_fetch_stops_when_it_is_asked_to(
    s3_settings: Settings, bucket: str, tmp_path: Path
) -> None:
    """Between two blocks; what it has fetched does not stay on the disk."""
    model = make_model(f"s3://{bucket}/models/tiny")
    with pytest.raises(FetchStopped):
        fetch_from_bucket(model, tmp_path, s3_settings, lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.lock"]
    # Another process fetches it.
    with (tmp_path / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FetchStopped):
            fetch_from_bucket(model, tmp_path, s3_settings, lambda: True)
    fetch_from_bucket(model, tmp_path, s3_settings)
    assert is_cached(model, tmp_path)


@pytest.mark.parametrize("is_stopping", [True, False])
def test_a_fetch_that_takes_too_long_is_ended(
    s3_settings: Settings, bucket: str, tmp_path: Path, is_stopping: bool
) -> None:
    model = make_model(f"s3://{bucket}/models/tiny")
    with nullcontext() if is_stopping else pytest.raises(MaterializeFailed, match="did not arrive"):
        ensure_cached(
            model,
            tmp_path,
            settings=s3_settings,
            should_stop=lambda: is_stopping,
            timeout_seconds=-1,
        )
    assert not is_cached(model, tmp_path)
