"""Exports over HTTP with a real trainer thread, database and storage."""

import hashlib
import io
import os
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load, save_file
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.catalog import Catalog, CatalogModel
from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import ExportFormat, ExportState, FineTunedModel, Job, ModelExport, Project
from app.exports import conversions, service
from app.operations import outbox_dispatch, retention
from app.operations.orphaned_objects import OrphanCollector
from app.storage import StorageUnavailable, join_key
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job, make_project
from tests.live_api import Account, Api
from tests.polling import wait_until
from tests.worker.test_modeling import with_nonzero_adapter
from worker.modeling import save_adapter
from worker.run_folder import UnsafeFile, write_manifest
from worker.supervisor import export_runner
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.export_archives import HashingWriter, write_archive
from worker.supervisor.export_runner import ExportRunner

MODEL = "ft:base:acme:desk:Abcd1234"
PATH = f"/v1/models/{MODEL}/export"


@pytest.fixture(autouse=True)
def _adopted_storage(api: Api) -> None:
    """Adopt the storage before there are rows, of which it would have no objects."""
    api.state.store.check()


@pytest.fixture
def job(session: Session, account: Account) -> Job:
    project = session.get_one(Project, account.principal.project_id)
    job = make_job(session, project, base_model="base", state="succeeded")
    make_model(session, job, MODEL)
    return job


@pytest.fixture
def adapter(tiny_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_adapter(with_nonzero_adapter(tiny_folder), folder)
    write_manifest(folder)
    return folder


@pytest.fixture
def stored_model(session: Session, job: Job, api: Api, adapter: Path) -> None:
    """Store the adapter of MODEL as a trainer does."""
    prefix = session.get_one(FineTunedModel, MODEL).storage_prefix
    # An open transaction would time out while a test waits.
    session.commit()
    store_adapter(api, adapter, prefix)


def store_adapter(api: Api, folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        api.state.store.upload(path, join_key(prefix, path.name))


@pytest.fixture
def runner(context: TrainerContext, api: Api, tiny_model: CatalogModel) -> ExportRunner:
    base = CatalogModel.from_json({**tiny_model.to_json(), "id": "base"})
    for name, value in (("store", api.state.store), ("catalog", Catalog([base]))):
        object.__setattr__(context, name, value)
    return ExportRunner(context)


@pytest.fixture
def working(runner: ExportRunner, context: TrainerContext) -> Iterator[None]:
    """Convert in a thread, as a trainer does, until the test ends."""

    def work() -> None:
        while not context.stopping.wait(0.05):
            runner.run_queued()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    context.stopping.set()
    thread.join(120)


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


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export the adapter's files as they are: at once, without torch."""
    script = (
        "import shutil, sys; shutil.copytree(sys.argv[1] + '/init', sys.argv[1] + '/export',"
        " dirs_exist_ok=True)"
    )
    monkeypatch.setattr(export_runner, "EXPORT_COMMAND", (sys.executable, "-c", script))


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


@pytest.mark.usefixtures("stored_model")
def test_a_conversion_stops_when_nobody_waits_for_it(
    sessions: SessionMaker,
    runner: ExportRunner,
    api: Api,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleep = (sys.executable, "-c", "import time; time.sleep(600)")
    monkeypatch.setattr(export_runner, "EXPORT_COMMAND", sleep)
    monkeypatch.setattr(export_runner, "RENEW_INTERVAL_SECONDS", 0.1)
    with transaction(sessions) as session:
        service.request(session, api.state.catalog, job.project_id, MODEL, "peft")
    thread = threading.Thread(target=runner.run_queued)
    thread.start()

    def is_running() -> bool:
        with transaction(sessions) as session:
            return session.query(ModelExport).one().state == ExportState.RUNNING

    wait_until("it runs", is_running)
    long_ago = clock.subtract_from_now(timedelta(minutes=10))
    with transaction(sessions) as session:
        session.execute(update(ModelExport).values(wanted_at=long_ago))
    thread.join(60)
    assert not thread.is_alive()
    with transaction(sessions) as session:
        row = session.query(ModelExport).one()
        assert (row.state, row.failures) == (ExportState.QUEUED, 0)
        assert conversions.claim(session) is None, "an unwanted export is not made"


@pytest.mark.usefixtures("stored_model")
def test_an_export_waits_for_the_next_round_while_storage_is_unavailable(
    session: Session,
    sessions: SessionMaker,
    runner: ExportRunner,
    api: Api,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(api.state.store, "download", fail)
    with transaction(sessions) as other:
        service.request(other, api.state.catalog, job.project_id, MODEL, "peft")
    claims: list[object] = []
    claim = conversions.claim
    monkeypatch.setattr(
        conversions,
        "claim",
        # A second claim in the same round would be followed by thousands.
        lambda session: claims.append(session) or claim(session) if len(claims) < 2 else None,
    )
    with pytest.raises(StorageUnavailable):
        runner.run_queued()
    assert len(claims) == 1
    row = session.query(ModelExport).one()
    assert (row.state, row.failures) == (ExportState.QUEUED, 0)


def add_export(session: Session, project: Project, name: str) -> ModelExport:
    job = make_job(session, project, base_model="base", state="succeeded")
    make_model(session, job, name)
    row = ModelExport(
        id=f"export_{name[-8:]}",
        project_id=project.id,
        model_name=name,
        format=ExportFormat.PEFT,
        state=ExportState.QUEUED,
    )
    session.add(row)
    session.commit()
    return row


def test_projects_take_turns(session: Session) -> None:
    one, other = make_project(session), make_project(session)
    for project, tag in (
        (one, "Aaaaaaa1"),
        (one, "Aaaaaaa2"),
        (one, "Aaaaaaa3"),
        (other, "Bbbbbbb1"),
    ):
        add_export(session, project, f"ft:base:acme::{tag}")
    claimed = []
    for _ in range(4):
        conversion = conversions.claim(session)
        session.commit()
        assert conversion is not None
        claimed.append(conversion.model_name[-8:])
    assert claimed[:2] == ["Aaaaaaa1", "Bbbbbbb1"]
    assert conversions.claim(session) is None


def test_a_lost_lease_records_nothing(session: Session) -> None:
    add_export(session, make_project(session), "ft:base:acme::Aaaaaaa1")
    first = conversions.claim(session)
    session.execute(update(ModelExport).values(lease_until=clock.seconds_from_now(-1)))
    second = conversions.claim(session)
    assert first is not None
    assert second is not None
    assert second.attempt == first.attempt + 1
    assert not conversions.renew(session, first.export_id, first.attempt)
    stored = {"key": "projects/p/exports/x", "size": 1, "sha256": "0" * 64}
    assert not conversions.finish(session, first.export_id, first.attempt, **stored)
    assert conversions.finish(session, second.export_id, second.attempt, **stored)


def store_export(session: Session, api: Api, row: ModelExport) -> str:
    key = f"projects/{row.project_id}/exports/{row.id}"
    api.state.store.put(key, b"tar")
    row.state, row.storage_key, row.bytes, row.sha256 = ExportState.READY, key, 3, "0" * 64
    session.commit()
    return key


@pytest.mark.parametrize("reason", ["old", "model deleted"])
def test_unneeded_archives_are_deleted(
    session: Session, sessions: SessionMaker, api: Api, reason: str
) -> None:
    row = add_export(session, make_project(session), "ft:base:acme::Aaaaaaa1")
    key = store_export(session, api, row)
    collector = OrphanCollector(sessions, api.state.store)
    assert [collector.collect(), collector.collect()] == [0, 0], "an export is no orphan"
    retention.sweep(sessions, retention.RetentionPolicy())
    assert list(api.state.store.list(key)) == [key]
    if reason == "old":
        row.wanted_at = clock.subtract_from_now(timedelta(hours=25))
    else:
        session.get_one(FineTunedModel, row.model_name).deleted_at = func.clock_timestamp()
    session.commit()
    retention.sweep(sessions, retention.RetentionPolicy())
    outbox_dispatch.dispatch_pending(sessions, lambda *_: True, api.state.store)
    assert list(api.state.store.list(key)) == []
    session.expire_all()
    assert session.query(ModelExport).count() == 0


def test_a_project_keeps_a_few_archives(session: Session, api: Api) -> None:
    project = make_project(session)
    rows = [add_export(session, project, f"ft:base:acme::Aaaaaaa{n}") for n in range(6)]
    for row in rows[:5]:
        store_export(session, api, row)
    claimed = conversions.claim(session)
    assert claimed is not None
    conversions.finish(
        session, claimed.export_id, claimed.attempt, key="projects/p/exports/y", size=1, sha256="0"
    )
    session.commit()
    kept = {row.model_name[-1] for row in session.query(ModelExport)}
    assert kept == {"2", "3", "4", "5"}, "the least recently wanted are deleted"


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
