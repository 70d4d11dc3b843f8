"""Exports over HTTP with a real trainer thread, database and storage."""

import hashlib
import io
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load, save_file
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import ExportState, FineTunedModel, Job, ModelExport
from app.exports import service
from app.operations import outbox_dispatch
from tests.app.exports.rows import MODEL, store_adapter, store_export
from tests.app.http.test_admission import expect_error
from tests.live_api import Api
from worker.run_folder import UnsafeFile, write_manifest
from worker.supervisor import export_runner
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.export_archives import HashingWriter, write_archive

PATH = f"/v1/models/{MODEL}/export"


@pytest.mark.usefixtures("stored_model", "working")
def test_an_export_is_made_once_and_made_again_if_storage_lost_it(
    http: httpx.Client, api: Api, session: Session, context: TrainerContext
) -> None:
    response = http.get(PATH, params={"format": "peft"}, timeout=300)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-tar"
    assert int(response.headers["content-length"]) == len(response.content)
    folder = "base-acme-desk-Abcd1234-peft"
    assert f'filename="{folder}.tar"' in response.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
        assert archive.getnames() == [
            f"{folder}/README.md",
            f"{folder}/adapter_config.json",
            f"{folder}/adapter_model.safetensors",
        ]
    row = session.query(ModelExport).one()
    assert row.sha256 == hashlib.sha256(response.content).hexdigest()
    session.commit()
    assert list(context.settings.home.joinpath("exports").iterdir()) == []
    assert http.get(PATH, params={"format": "peft"}).content == response.content
    assert row.storage_key is not None
    api.state.store.delete(row.storage_key)
    session.commit()
    assert http.get(PATH, params={"format": "peft"}, timeout=300).status_code == 200
    session.refresh(row)
    assert row.attempt == 2


def read_weights(archive: bytes) -> dict[str, torch.Tensor]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        (name,) = [name for name in files.getnames() if name.endswith(".safetensors")]
        member = files.extractfile(name)
        assert member is not None
        return load(member.read())


@pytest.mark.usefixtures("stored_model", "copying", "working")
def test_a_checkpoint_that_is_trained_again_is_exported_again(
    http: httpx.Client, api: Api, session: Session, adapter: Path
) -> None:
    """A job whose data begins again stores other weights under the name of an epoch."""
    first = http.get(PATH, timeout=300)
    old_key = session.query(ModelExport).one().storage_key
    assert old_key is not None
    weights = {name: tensor + 1 for name, tensor in read_weights(first.content).items()}
    save_file(weights, adapter / "adapter_model.safetensors")
    write_manifest(adapter)
    model = session.get_one(FineTunedModel, MODEL)
    model.storage_prefix += "-again"
    store_adapter(api, adapter, model.storage_prefix)
    session.commit()
    second = http.get(PATH, timeout=300)
    assert second.status_code == 200, second.text
    for name, tensor in read_weights(second.content).items():
        assert torch.equal(tensor, weights[name]), name
    outbox_dispatch.dispatch_pending(api.state.sessions, lambda *_: True, api.state.store)
    assert list(api.state.store.list(old_key)) == []
    assert http.get(PATH).content == second.content


@pytest.mark.usefixtures("job", "runner")
def test_a_base_with_another_licence_is_exported_again(
    session: Session, api: Api, job: Job, context: TrainerContext
) -> None:
    """The licence is in the model card."""
    row = service.request(session, context.catalog, job.project_id, MODEL, "peft")
    store_export(session, api, row)
    base = context.catalog.get("base")
    assert base is not None
    for licence, state in (("", ExportState.READY), ("apache-2.0", ExportState.QUEUED)):
        catalog = Catalog([replace(base, license=licence)])
        row = service.request(session, catalog, job.project_id, MODEL, "peft")
        assert row.state == state


@pytest.mark.usefixtures("job")
def test_an_archive_of_an_earlier_version_is_made_again(
    session: Session, api: Api, job: Job
) -> None:
    """Of which weights it was made is not known."""
    row = service.request(session, api.state.catalog, job.project_id, MODEL, "peft")
    row.fingerprint = None
    key = store_export(session, api, row)
    row = service.request(session, api.state.catalog, job.project_id, MODEL, "peft")
    session.commit()
    assert (row.state, row.storage_key) == (ExportState.QUEUED, None)
    outbox_dispatch.dispatch_pending(api.state.sessions, lambda *_: True, api.state.store)
    assert list(api.state.store.list(key)) == []


@pytest.mark.usefixtures("job")
def test_only_the_owner_may_export_and_only_what_the_model_has(
    http: httpx.Client, other_tenant: httpx.Client
) -> None:
    assert expect_error(other_tenant.get(PATH), 404)["code"] == "model_not_found"
    assert expect_error(http.get(f"{PATH[:-7]}x/export"), 404)["code"] == "model_not_found"
    base = expect_error(http.get("/v1/models/base/export"), 400)
    assert "Only fine-tuned models can be exported" in base["message"]
    wrong = expect_error(http.get(PATH, params={"format": "onnx"}), 400)
    assert wrong["param"] == "format"
    assert "Its formats are peft, merged, gguf." in wrong["message"]


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("wanted", "status", "body", "content_range"),
    [
        ("bytes=1-", 206, b"ar", "bytes 1-2/3"),
        ("bytes=0-0", 206, b"t", "bytes 0-0/3"),
        ("bytes=1-99", 206, b"ar", "bytes 1-2/3"),
        ("bytes=-2", 206, b"ar", "bytes 1-2/3"),
        ("bytes=-99", 206, b"tar", "bytes 0-2/3"),
        ("bytes=0-0,2-2", 200, b"tar", None),
        ("bytes=2-1", 200, b"tar", None),
        ("lines=1-", 200, b"tar", None),
        ("bytes=3-", 416, None, "bytes */3"),
        ("bytes=-0", 416, None, "bytes */3"),
    ],
)
def test_a_download_goes_on_where_it_was_interrupted(
    http: httpx.Client,
    session: Session,
    api: Api,
    job: Job,
    wanted: str,
    status: int,
    body: bytes | None,
    content_range: str | None,
) -> None:
    row = service.request(session, api.state.catalog, job.project_id, MODEL, "peft")
    store_export(session, api, row)
    whole = http.get(PATH)
    assert whole.headers["accept-ranges"] == "bytes"
    response = http.get(PATH, headers={"Range": wanted, "If-Range": whole.headers["etag"]})
    assert response.status_code == status, response.text
    assert response.headers.get("content-range") == content_range
    if body is None:
        assert expect_error(response, 416)["code"] == "range_not_satisfiable"
        return
    assert response.content == body
    assert response.headers["content-length"] == str(len(body))
    other = http.get(PATH, headers={"Range": wanted, "If-Range": '"another archive"'})
    assert (other.status_code, other.content) == (200, b"tar")


@pytest.mark.usefixtures("stored_model", "working")
def test_a_conversion_that_keeps_crashing_is_given_up(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    monkeypatch.setattr(
        export_runner, "EXPORT_COMMAND", (sys.executable, "-c", "raise SystemExit(3)")
    )
    response = http.get(PATH, timeout=120)
    assert expect_error(response, 503)["code"] == "export_failed"
    assert response.headers["x-should-retry"] == "false"
    assert session.query(ModelExport).one().attempt == 3


def test_an_archive_contains_no_file_that_is_linked_to(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "model").symlink_to(tmp_path / "secret")
    with pytest.raises((UnsafeFile, OSError)):
        write_archive(folder, "name", HashingWriter(io.BytesIO(), lambda: None))
    (folder / "model").unlink()
    os.mkfifo(folder / "model")
    with pytest.raises(UnsafeFile):
        write_archive(folder, "name", HashingWriter(io.BytesIO(), lambda: None))
