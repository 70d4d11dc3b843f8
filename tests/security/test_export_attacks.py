"""Attack A75: exports that take the trainers, the disk or the database from others, or that put
what users wrote where it has a meaning.

What concerns the trainer is in `tests/worker/supervisor/exports`, model cards are in
`tests/worker/exporting/test_card.py`.
"""

import re

import httpx
import pytest
from sqlalchemy import func
from sqlalchemy.orm import Session

from app.db.tables import (
    CheckpointPermission,
    ExportState,
    FineTunedModel,
    ModelExport,
    Project,
)
from app.exports import routes
from app.exports.archive_names import archive_name, folder_name
from app.exports.service import MAX_QUEUED_PER_PROJECT
from tests.app.exports.rows import add_export, store_export
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job, make_project
from tests.live_api import Account, Api

SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


@pytest.fixture(autouse=True)
def _adopted_storage(api: Api) -> None:
    api.state.store.check()


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


@pytest.fixture
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_WAIT_SECONDS", -1.0)


def path_of(model: str) -> str:
    return f"/v1/models/{model}/export"


@pytest.mark.parametrize(
    "suffix",
    ["../../etc", "..", "$(reboot)", "a b;c", "-rf", "\u202etxt.exe", "\u00fc" * 64, "'\"\r\nX: y"],
)
def test_a75_archives_and_their_folders_have_safe_names(suffix: str) -> None:
    """Of the archive in `Content-Disposition`, and of the folder that tar unpacks."""
    name = f"ft:acme/../base:acme:{suffix}:Abcd1234"
    assert SAFE.fullmatch(folder_name(name, "gguf"))
    assert SAFE.fullmatch(archive_name(name, "gguf").removesuffix(".tar"))


@pytest.mark.usefixtures("_no_wait")
def test_a75_a_project_waits_for_a_few_exports(
    http: httpx.Client, other_tenant: httpx.Client, session: Session, project: Project
) -> None:
    job = make_job(session, project, base_model="base")
    names = [f"ft:base:acme::Abcd{n:04d}" for n in range(MAX_QUEUED_PER_PROJECT + 1)]
    for name in names:
        make_model(session, job, name)
    session.commit()
    for name in names[:-1]:
        assert expect_error(http.get(path_of(name)), 503)["code"] == "export_in_progress"
    refused = http.get(path_of(names[-1]))
    assert "already waits for 16 exports" in expect_error(refused, 429)["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert expect_error(http.get(path_of(names[0])), 503)["code"] == "export_in_progress"
    assert session.query(ModelExport).count() == MAX_QUEUED_PER_PROJECT


def test_a75_few_requests_of_a_project_wait(
    http: httpx.Client,
    api: Api,
    session: Session,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each asks the database twice a second. A finished archive needs no waiting."""
    api.state.waiting_exports[project.id] = routes.MAX_WAITING_PER_PROJECT
    job = make_job(session, project, base_model="base")
    name = "ft:base:acme::Abcd1234"
    make_model(session, job, name)
    session.commit()
    assert "wait for exports" in expect_error(http.get(path_of(name)), 429)["message"]
    store_export(session, api, session.query(ModelExport).one())
    assert http.get(path_of(name)).content == b"tar"
    api.state.waiting_exports.clear()
    monkeypatch.setattr(routes, "MAX_WAIT_SECONDS", -1.0)
    row = session.query(ModelExport).one()
    row.state = ExportState.QUEUED
    session.commit()
    assert expect_error(http.get(path_of(name)), 503)["code"] == "export_in_progress"
    assert api.state.waiting_exports == {}, "one that has ended no longer counts"


def test_a75_a_permission_to_use_a_model_does_not_include_its_weights(
    http: httpx.Client, session: Session, project: Project
) -> None:
    owner = make_project(session)
    row = add_export(session, owner, "ft:base:acme::Abcd1234")
    session.add(CheckpointPermission(id="cp_1", model_name=row.model_name, project_id=project.id))
    session.commit()
    error = expect_error(http.get(path_of(row.model_name)), 403)
    assert "only that project can export it" in error["message"]


def test_a75_the_archive_of_a_deleted_model_is_not_served(
    http: httpx.Client, api: Api, session: Session, project: Project
) -> None:
    row = add_export(session, project, "ft:base:acme::Abcd1234")
    store_export(session, api, row)
    session.get_one(FineTunedModel, row.model_name).deleted_at = func.clock_timestamp()
    session.commit()
    assert expect_error(http.get(path_of(row.model_name)), 404)["code"] == "model_not_found"
