"""A fine-tuned model in a project, and the runner that exports it."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.catalog import Catalog, CatalogModel
from app.db.tables import FineTunedModel, Job, Project
from tests.app.exports.rows import MODEL, store_adapter
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account, Api
from tests.worker.test_modeling import with_nonzero_adapter
from worker.modeling import save_adapter
from worker.run_folder import write_manifest
from worker.supervisor import export_runner
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.export_runner import ExportRunner


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


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export the adapter's files as they are: at once, without torch."""
    script = (
        "import shutil, sys; shutil.copytree(sys.argv[1] + '/init', sys.argv[1] + '/export',"
        " dirs_exist_ok=True)"
    )
    monkeypatch.setattr(export_runner, "EXPORT_COMMAND", (sys.executable, "-c", script))
