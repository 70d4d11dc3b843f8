"""Routes of /v1/models."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from openai import NotFoundError, OpenAI, PermissionDeniedError
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import Checkpoint, File, FineTunedModel, Job, Outbox, Project
from app.models import registry
from tests.app.files.test_routes import GOOD
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

TUNED = "ft:base:acme:-my suffix; it's user@x, $1 (a+b)=~&!:Abcd1234"
LOCK_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
CHECKPOINT = "ft:base:acme:my suffix:Efgh5678:ckpt-step-4"


def count_lock_waits(session: Session) -> int:
    """Count connections waiting for a lock. A transaction would see a snapshot of the number."""
    session.execute(select(func.pg_stat_clear_snapshot()))
    return session.scalar(text(LOCK_WAITS)) or 0


@pytest.fixture
def job(session: Session, account: Account) -> Job:
    project = session.get_one(Project, account.principal.project_id)
    job = make_job(session, project, base_model="base", state="succeeded")
    make_model(session, job, TUNED)
    make_model(session, job, CHECKPOINT, step=4)
    return job


def test_list(openai: OpenAI, job: Job) -> None:
    owners = {model.id: model.owned_by for model in openai.models.list()}
    assert owners == {
        "base": "system",
        "gpt-4o-mini": "system",
        "owner/base": "system",
        "encoder": "system",
        "small-encoder": "system",
        TUNED: "acme",
    }


def test_details_on_request(http: httpx.Client, job: Job) -> None:
    listed = http.get("/v1/models", params={"include": "details"}).json()["data"]
    details = {model["id"]: model["details"] for model in listed}
    base = {
        "base_model": "base",
        "kind": "causal",
        "methods": ["supervised", "dpo"],
        "context_length": 8192,
        "license": None,
        "engine": "luthier",
        "job_id": None,
        "method": None,
        "alias_of": None,
    }
    assert details["base"] == base
    assert details["gpt-4o-mini"] == base | {"alias_of": "base"}
    assert details[TUNED] == base | {"job_id": job.id, "method": "supervised"}
    assert details["encoder"]["methods"] == []
    path = f"/v1/models/{quote(TUNED, safe='')}"
    assert http.get(path, params={"include": "details"}).json()["details"] == details[TUNED]
    assert "details" not in http.get(path).json()


@pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{quote(TUNED, safe='')}"])
def test_details_take_no_further_query(
    api: Api, http: httpx.Client, session: Session, job: Job, path: str
) -> None:
    session.commit()
    statements: list[str] = []

    def count(*arguments: Any) -> None:
        statements.append(arguments[2])

    def list_statements(**params: str) -> list[str]:
        statements.clear()
        assert http.get(path, params=params).status_code == 200
        return list(statements)

    engine: Engine = api.state.database
    event.listen(engine, "before_cursor_execute", count)
    try:
        plain, detailed = list_statements(), list_statements(include="details")
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert len(plain) == len(detailed) > 0
    assert not any("jobs" in statement for statement in plain)
    assert any("jobs" in statement for statement in detailed)


def test_an_encoders_model_lists_only_its_own_method(
    session: Session, account: Account, http: httpx.Client
) -> None:
    project = session.get_one(Project, account.principal.project_id)
    job = make_job(session, project, base_model="small-encoder", method="classification")
    make_model(session, job, "ft:small-encoder:acme:x:Abcd1234")
    session.commit()
    listed = http.get("/v1/models", params={"include": "details"}).json()["data"]
    assert listed[-1]["details"]["methods"] == ["classification"]


@pytest.mark.parametrize("name", ["base", "gpt-4o-mini", "owner/base", TUNED, CHECKPOINT])
def test_retrieve_by_id_alias_and_name(
    openai: OpenAI, http: httpx.Client, job: Job, name: str
) -> None:
    assert openai.models.retrieve(name).id == name
    assert http.get(f"/v1/models/{quote(name, safe='')}").json()["id"] == name


@pytest.mark.parametrize("name", ["gpt-9", "ft:base:acme::Unknown1", "a/b/c", "ft:a:b:c:d"])
def test_unknown_model(openai: OpenAI, http: httpx.Client, name: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        openai.models.retrieve(name)
    assert raised.value.body == {
        "message": f"The model `{name}` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }
    assert expect_error(http.delete(f"/v1/models/{name}"), 404) == {
        "message": "That model does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": None,
    }


class TestDelete:
    def test_weights_are_deleted_with_the_model(
        self, openai: OpenAI, session: Session, job: Job
    ) -> None:
        deleted = openai.models.delete(TUNED)
        assert (deleted.id, deleted.deleted, deleted.object) == (TUNED, True, "model")
        with pytest.raises(NotFoundError):
            openai.models.retrieve(TUNED)
        with pytest.raises(NotFoundError):
            openai.models.delete(TUNED)
        assert openai.models.retrieve(CHECKPOINT).id == CHECKPOINT
        task = session.scalars(select(Outbox)).one()
        assert task.kind == "delete_blobs"
        assert task.payload["prefix"].endswith("/step-9/")

    def test_no_job_resumes_from_a_deleted_checkpoint(
        self, openai: OpenAI, session: Session, job: Job
    ) -> None:
        model = make_model(session, job, "ft:base:acme::Ijkl9012", step=2)
        checkpoint = Checkpoint(
            id=ids.checkpoint_id(),
            job_id=job.id,
            attempt=1,
            step=2,
            kind="user",
            storage_prefix=model.storage_prefix,
            manifest_sha256="",
            bytes=1,
            model_name=model.name,
            metrics={},
        )
        session.add(checkpoint)
        session.commit()
        openai.models.delete(model.name)
        session.refresh(checkpoint)
        assert checkpoint.deleted_at is not None

    @pytest.mark.parametrize("suffix", ["", "broken"])
    def test_engine_is_told_to_unload_and_may_fail(
        self, openai: OpenAI, session: Session, job: Job, engine: FakeEngine, suffix: str
    ) -> None:
        """The model is deleted even if the engine fails."""
        name = make_model(session, job, f"ft:base:acme:{suffix}:Mnop3456").name
        assert openai.models.delete(name).deleted
        # Requests of earlier tests may still arrive.
        while engine.unload_requests.get(timeout=60) != name:
            pass

    @pytest.mark.parametrize("name", ["base", "gpt-4o-mini"])
    def test_base_models_cannot_be_deleted(self, openai: OpenAI, name: str) -> None:
        with pytest.raises(PermissionDeniedError, match="base model"):
            openai.models.delete(name)
        assert openai.models.retrieve(name).id == name

    def test_another_projects_model(
        self, openai: OpenAI, other_tenant: httpx.Client, job: Job
    ) -> None:
        path = f"/v1/models/{quote(TUNED, safe='')}"
        expect_error(other_tenant.get(path), 404)
        expect_error(other_tenant.delete(path), 404)
        assert TUNED not in other_tenant.get("/v1/models").text
        assert openai.models.retrieve(TUNED).id == TUNED


class TestModelThatAJobStartsFrom:
    def test_it_cannot_be_deleted_until_the_job_has_ended(
        self, http: httpx.Client, job: Job, session: Session
    ) -> None:
        project = session.get_one(Project, job.project_id)
        continued = make_job(session, project, start_model=TUNED)
        session.commit()
        response = http.delete(f"/v1/models/{quote(TUNED)}")
        assert expect_error(response, 400)["param"] == "model"
        continued.state = "cancelled"
        session.commit()
        assert http.delete(f"/v1/models/{quote(TUNED)}").json()["deleted"]

    def test_deletion_waits_for_a_job_being_created(
        self, http: httpx.Client, api: Api, job: Job, session: Session
    ) -> None:
        project = session.get_one(Project, job.project_id)
        registry.resolve(session, api.state.catalog, project.id, TUNED, share_lock=True)
        with ThreadPoolExecutor(1) as client:
            deleting = client.submit(http.delete, f"/v1/models/{quote(TUNED)}")
            while not count_lock_waits(session):
                assert not deleting.done(), deleting.result().text
            make_job(session, project, start_model=TUNED)
            session.commit()
            assert deleting.result().status_code == 400


def test_one_of_concurrent_deletions_succeeds(
    session: Session, openai: OpenAI, http: httpx.Client, job: Job
) -> None:
    file_id = openai.files.create(file=GOOD, purpose="fine-tune").id
    session.commit()
    for path in (f"/v1/models/{quote(TUNED)}", f"/v1/files/{file_id}"):
        # Locks both rows, so that all deletions wait and then run at once.
        session.scalars(select(FineTunedModel).with_for_update()).all()
        session.scalars(select(File).with_for_update()).all()
        with ThreadPoolExecutor(3) as clients:
            deleting = [clients.submit(http.delete, path) for _ in range(3)]
            while count_lock_waits(session) < 3:
                assert not any(future.done() for future in deleting)
            session.commit()
            assert sorted(future.result().status_code for future in deleting) == [200, 404, 404]
