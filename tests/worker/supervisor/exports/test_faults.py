"""Ends of conversions that something goes wrong in: each export is made, or told why not."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.catalog import CatalogModel
from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import ExportFormat, ExportState, FineTunedModel, Job, ModelExport
from app.exports import archives, conversions, service
from app.operations import outbox_dispatch
from app.storage import StorageUnavailable
from tests.app.exports.rows import MODEL
from tests.app.http.test_admission import expect_error
from tests.live_api import Api
from tests.polling import wait_until
from worker.host_memory import HostMemory
from worker.supervisor import base_models, export_lease, export_room, export_runner
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.export_room import estimate_room
from worker.supervisor.export_runner import ExportRunner

PATH = f"/v1/models/{MODEL}/export"


@pytest.fixture
def queued(sessions: SessionMaker, api: Api, job: Job, stored_model: None) -> None:
    with transaction(sessions) as session:
        service.request(session, api.state.catalog, job.project_id, MODEL, "peft")


def get_end(session: Session) -> tuple[ExportState, int]:
    session.expire_all()
    row = session.query(ModelExport).one()
    end = row.state, row.failures
    session.commit()
    return end


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
    monkeypatch.setattr(export_lease, "RENEW_INTERVAL_SECONDS", 0.1)
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


@pytest.mark.usefixtures("queued", "copying")
def test_storage_that_goes_away_during_the_upload_leaves_nothing(
    session: Session, runner: ExportRunner, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = api.state.store.writer

    class Failing:
        def __init__(self, target: Any) -> None:
            self._target = target

        def write(self, data: bytes) -> int:
            self._target.write(data)
            raise StorageUnavailable("away")

    @contextmanager
    def open_failing(key: str) -> Iterator[Failing]:
        with writer(key) as target:
            yield Failing(target)

    monkeypatch.setattr(api.state.store, "writer", open_failing)
    with pytest.raises(StorageUnavailable):
        runner.run_queued()
    assert get_end(session) == (ExportState.QUEUED, 0)
    monkeypatch.setattr(api.state.store, "writer", writer)
    runner.run_queued()
    assert get_end(session) == (ExportState.READY, 0)
    row = session.query(ModelExport).one()
    assert list(api.state.store.list(f"projects/{row.project_id}/exports/")) == [row.storage_key]


@pytest.mark.usefixtures("queued")
def test_a_runner_that_is_killed_is_followed_by_another(
    session: Session, runner: ExportRunner, copying: None
) -> None:
    """Its lease expires, its folder is removed, and its attempt counts as a failure."""
    killed = conversions.claim(session)
    assert killed is not None
    folder = runner._folder_path(killed)
    folder.mkdir(parents=True)
    session.commit()
    runner.run_queued()
    assert get_end(session) == (ExportState.RUNNING, 1)
    assert folder.exists(), "its trainer may be alive"
    session.execute(update(ModelExport).values(lease_until=clock.seconds_from_now(-1)))
    session.commit()
    runner.run_queued()
    assert get_end(session) == (ExportState.READY, 0)
    runner.run_queued()
    assert not folder.exists()


@pytest.mark.usefixtures("queued", "copying")
def test_the_archive_of_a_model_that_is_deleted_meanwhile_is_deleted(
    session: Session,
    sessions: SessionMaker,
    runner: ExportRunner,
    api: Api,
    http: httpx.Client,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finish = conversions.finish

    def delete_then_finish(other: Session, *args: Any, **kwargs: Any) -> bool:
        other.get_one(FineTunedModel, MODEL).deleted_at = func.clock_timestamp()
        other.flush()
        return finish(other, *args, **kwargs)

    monkeypatch.setattr(conversions, "finish", delete_then_finish)
    runner.run_queued()
    outbox_dispatch.dispatch_pending(sessions, lambda *_: True, api.state.store)
    assert list(api.state.store.list(f"projects/{job.project_id}/exports/")) == []
    assert expect_error(http.get(PATH), 404)["code"] == "model_not_found"
    session.execute(update(ModelExport).values(lease_until=clock.seconds_from_now(-1)))
    session.commit()
    runner.run_queued()
    assert session.query(ModelExport).count() == 0


@pytest.mark.usefixtures("queued", "copying")
def test_the_lease_is_renewed_while_the_base_model_is_fetched(
    session: Session, runner: ExportRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And while its checksums are compared: nothing there asks for the lease."""
    monkeypatch.setattr(export_lease, "RENEW_INTERVAL_SECONDS", 0.05)

    def fetch(*_: object, **__: object) -> None:
        session.execute(update(ModelExport).values(lease_until=clock.seconds_from_now(1)))
        session.commit()
        wait_until("the lease is renewed", lambda: get_seconds_left(session) > 30)

    monkeypatch.setattr(base_models, "ensure_cached", fetch)
    runner.run_queued()
    assert get_end(session) == (ExportState.READY, 0)


def get_seconds_left(session: Session) -> float:
    left = func.extract("epoch", ModelExport.lease_until - func.clock_timestamp())
    seconds = float(session.query(left).scalar() or 0)
    session.commit()
    return seconds


@pytest.mark.usefixtures("queued")
def test_a_conversion_that_takes_too_long_is_ended(
    session: Session, runner: ExportRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = (sys.executable, "-c", "import time; time.sleep(600)")
    monkeypatch.setattr(export_runner, "EXPORT_COMMAND", sleep)
    monkeypatch.setattr(export_runner, "CONVERSION_TIMEOUT_SECONDS", 0.2)
    runner.run_queued()
    assert get_end(session) == (ExportState.FAILED, 3)
    assert session.query(ModelExport).one().error == conversions.GIVEN_UP


@pytest.mark.usefixtures("queued", "copying")
def test_a75_a_conversion_waits_for_memory(
    session: Session,
    context: TrainerContext,
    runner: ExportRunner,
    http: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HostMemory, "available_bytes", lambda _: 2**20)
    runner.run_queued()
    assert get_end(session)[0] == ExportState.FAILED
    response = http.get(PATH)
    assert expect_error(response, 503)["code"] == "export_failed"
    assert "too little free memory" in response.json()["error"]["message"]


@pytest.mark.usefixtures("queued", "copying")
def test_a75_on_a_full_disk_archives_that_nobody_uses_give_way(
    session: Session, runner: ExportRunner, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]
    monkeypatch.setattr(export_room, "measure_free_bytes", lambda _: 2**20 if full[0] else 2**50)
    made_room: list[int] = []
    monkeypatch.setattr(
        archives, "make_room", lambda _, missing: made_room.append(missing) or len(made_room) < 2
    )
    runner.run_queued()
    runner.run_queued()
    assert get_end(session) == (ExportState.QUEUED, 0), "it waits for their deletion"
    assert len(made_room) == 1
    assert made_room[0] > runner._context.settings.disk_reserve_bytes
    monkeypatch.setattr(export_runner, "DELETION_SECONDS", 0)
    runner.run_queued()
    assert session.query(ModelExport).one().error == conversions.NO_DISK
    session.execute(update(ModelExport).values(state=ExportState.QUEUED, failures=0, error=None))
    session.commit()
    full[0] = False
    runner.run_queued()
    assert get_end(session) == (ExportState.READY, 0)


def test_room_is_estimated_by_the_weights_of_the_base(
    tiny_model: CatalogModel, context: TrainerContext
) -> None:
    folder = tiny_model.source.removeprefix("path:")
    models = context.settings.home / "cache"
    peft = estimate_room(ExportFormat.PEFT, tiny_model, models)
    merged = estimate_room(ExportFormat.MERGED, tiny_model, models)
    size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    assert size > 0
    assert merged.archive_bytes - peft.archive_bytes == size
    assert merged.memory_bytes > peft.memory_bytes + size
