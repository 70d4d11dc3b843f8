"""Checkpoint permissions, with the official client, and the access they give."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI, PermissionDeniedError
from sqlalchemy.orm import Session

from app.auth import principals
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from app.organization import api_keys, projects
from tests.app.files.test_routes import GOOD
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account, Api, create_admin_key, openai_client
from tests.live_server import FakeEngine

MODEL = "ft:base:acme::Abcd1234"
CHECKPOINT = "ft:base:acme::Efgh5678:ckpt-step-4"


@pytest.fixture
def _models(session: Session, account: Account) -> None:
    owner = session.get_one(Project, account.principal.project_id)
    job = make_job(session, owner, base_model="base", state="succeeded")
    make_model(session, job, MODEL)
    make_model(session, job, CHECKPOINT, step=4)


pytestmark = pytest.mark.usefixtures("_models")


@pytest.fixture
def guest(sessions: SessionMaker, account: Account) -> Account:
    """Another project of the same organization."""
    with transaction(sessions) as session:
        project = projects.create(session, account.principal.organization_id, "guest")
        secret = api_keys.create(session, project.id, "guest")[1]
        who = principals.authenticate_project_key(session, secret)
    assert who is not None
    return Account(secret, who)


@pytest.fixture
def guest_client(api: Api, guest: Account) -> Iterator[OpenAI]:
    with openai_client(api, guest.secret) as client:
        yield client


def ask(client: OpenAI, model: str) -> str | None:
    messages = [{"role": "user", "content": "Hello"}]
    answer = client.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
    return answer.choices[0].message.content


def permit(admin: OpenAI, guest: Account, model: str = MODEL) -> str:
    page = admin.fine_tuning.checkpoints.permissions.create(
        model, project_ids=[guest.principal.project_id]
    )
    return page.data[0].id


@pytest.mark.parametrize("model", [MODEL, CHECKPOINT])
def test_a_permission_lets_another_project_use_a_model(
    admin: OpenAI, guest: Account, guest_client: OpenAI, engine: FakeEngine, model: str
) -> None:
    with pytest.raises(NotFoundError):
        ask(guest_client, model)
    permission = permit(admin, guest, model)
    assert ask(guest_client, model) == "Hello"
    assert guest_client.models.retrieve(model).id == model
    listed = [entry.id for entry in guest_client.models.list()]
    assert (model in listed) == (model == MODEL), "lists leave checkpoints out"
    file = guest_client.files.create(file=("train.jsonl", GOOD), purpose="fine-tune")
    job = guest_client.fine_tuning.jobs.create(model=model, training_file=file.id)
    assert job.model == model
    admin.fine_tuning.checkpoints.permissions.delete(permission, fine_tuned_model_checkpoint=model)
    for use in (lambda: ask(guest_client, model), lambda: guest_client.models.retrieve(model)):
        with pytest.raises(NotFoundError) as raised:
            use()
        assert raised.value.code == "model_not_found"
    with pytest.raises(BadRequestError, match="not available for fine-tuning"):
        guest_client.fine_tuning.jobs.create(model=model, training_file=file.id)


def test_a_permission_covers_one_model_of_the_job(
    admin: OpenAI, guest: Account, guest_client: OpenAI
) -> None:
    permit(admin, guest, MODEL)
    with pytest.raises(NotFoundError):
        guest_client.models.retrieve(CHECKPOINT)


def test_a_permission_does_not_allow_deletion(
    admin: OpenAI, openai: OpenAI, guest: Account, guest_client: OpenAI
) -> None:
    permit(admin, guest)
    with pytest.raises(PermissionDeniedError, match="belongs to another project"):
        guest_client.models.delete(MODEL)
    assert openai.models.retrieve(MODEL).id == MODEL
    assert list(guest_client.fine_tuning.jobs.list()) == []
    openai.models.delete(MODEL)
    with pytest.raises(NotFoundError):
        guest_client.models.retrieve(MODEL)


class TestCreate:
    def test_response(self, admin: OpenAI, guest: Account, account: Account) -> None:
        wanted = [
            guest.principal.project_id,
            account.principal.project_id,
            guest.principal.project_id,
        ]
        page = admin.fine_tuning.checkpoints.permissions.create(MODEL, project_ids=wanted)
        assert [created.project_id for created in page.data] == wanted[:2]
        assert page.data[0].id.startswith("cp_")
        assert page.data[0].object == "checkpoint.permission"

    def test_an_existing_permission_is_kept(self, admin: OpenAI, guest: Account) -> None:
        assert permit(admin, guest) == permit(admin, guest)

    @pytest.mark.parametrize("body", [{}, {"project_ids": []}, {"project_ids": "proj_a"}])
    def test_invalid_bodies(self, admin_http: httpx.Client, body: dict[str, object]) -> None:
        path = f"/v1/fine_tuning/checkpoints/{MODEL}/permissions"
        assert expect_error(admin_http.post(path, json=body), 400)["param"] == "project_ids"

    def test_an_unknown_project_rejects_all(self, admin: OpenAI, guest: Account) -> None:
        permissions = admin.fine_tuning.checkpoints.permissions
        with pytest.raises(NotFoundError, match="No such project"):
            permissions.create(MODEL, project_ids=[guest.principal.project_id, "proj_unknown"])
        assert permissions.list(MODEL).data == []

    def test_an_archived_project(self, admin: OpenAI, guest: Account) -> None:
        admin.admin.organization.projects.archive(guest.principal.project_id)
        with pytest.raises(BadRequestError, match="is archived"):
            permit(admin, guest)

    @pytest.mark.parametrize("model", ["base", "ft:base:acme::Unknown1"])
    def test_base_and_unknown_models(self, admin: OpenAI, guest: Account, model: str) -> None:
        with pytest.raises(NotFoundError) as raised:
            permit(admin, guest, model)
        assert raised.value.code == "model_not_found"


class TestList:
    def test_pages(self, admin: OpenAI, guest: Account, account: Account) -> None:
        permissions = admin.fine_tuning.checkpoints.permissions
        created = permissions.create(
            MODEL, project_ids=[guest.principal.project_id, account.principal.project_id]
        ).data
        ids = [permission.id for permission in created]
        page = permissions.list(MODEL, limit=1)
        assert (page.has_more, page.last_id) == (True, ids[1])
        assert [permission.id for permission in page] == ids[::-1]
        assert [
            permission.id for permission in permissions.list(MODEL, limit=1, order="ascending")
        ] == ids
        of_guest = permissions.list(MODEL, project_id=guest.principal.project_id)
        assert [permission.id for permission in of_guest] == ids[:1]

    def test_raw_list_response(
        self, admin_http: httpx.Client, admin: OpenAI, guest: Account
    ) -> None:
        created = permit(admin, guest)
        path = f"/v1/fine_tuning/checkpoints/{quote(MODEL, safe='')}/permissions"
        body = admin_http.get(path).json()
        assert body.keys() == {"object", "data", "has_more", "first_id", "last_id"}
        assert (body["object"], body["first_id"], body["last_id"]) == ("list", created, created)
        assert body["data"][0]["project_id"] == guest.principal.project_id


def test_delete(admin: OpenAI, guest: Account) -> None:
    permissions = admin.fine_tuning.checkpoints.permissions
    created = permit(admin, guest)
    with pytest.raises(NotFoundError):
        permissions.delete(created, fine_tuned_model_checkpoint=CHECKPOINT)
    deleted = permissions.delete(created, fine_tuned_model_checkpoint=MODEL)
    assert (deleted.id, deleted.deleted, deleted.object) == (created, True, "checkpoint.permission")
    with pytest.raises(NotFoundError):
        permissions.delete(created, fine_tuned_model_checkpoint=MODEL)


def test_another_organizations_admin_cannot_grant(
    api: Api, sessions: SessionMaker, guest: Account
) -> None:
    with openai_client(api, create_admin_key(sessions, "others")) as other_admin:
        with pytest.raises(NotFoundError) as raised:
            permit(other_admin, guest)
        assert raised.value.code == "model_not_found"
