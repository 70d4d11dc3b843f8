"""Aliases of fine-tuned models: their routes, and requests by them on every route of inference."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openai import NotFoundError, OpenAI, PermissionDeniedError
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import ModelAlias, Project, TokenUsage
from app.models import aliases
from app.operations import archived_projects
from app.organization import api_keys, projects
from tests.app.files.test_routes import GOOD
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.app.monitoring.test_routes import BASELINE
from tests.factories import make_job
from tests.live_api import Account, Api, client_with_secret
from tests.live_server import FakeEngine
from tests.polling import wait_until

MODEL = "ft:base:acme::Abcd1234"
CHECKPOINT = "ft:base:acme::Efgh5678:ckpt-step-4"
CLASSIFIER = "ft:small-encoder:acme::Ijkl9012"
MESSAGES: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def _models(session: Session, account: Account) -> None:
    owner = session.get_one(Project, account.principal.project_id)
    job = make_job(session, owner, base_model="base", state="succeeded")
    make_model(session, job, MODEL)
    make_model(session, job, CHECKPOINT, step=4)
    values = {"base_model": "small-encoder", "method": "classification"}
    make_model(session, make_job(session, owner, drift_baseline=BASELINE, **values), CLASSIFIER)


@pytest.fixture
def neighbour(api: Api, sessions: SessionMaker, account: Account) -> Iterator[httpx.Client]:
    """A client of another project of the organization."""
    with transaction(sessions) as session:
        project = projects.create(session, account.principal.organization_id, "neighbour")
        secret = api_keys.create(session, project.id, "neighbour")[1]
    with client_with_secret(api, secret) as client:
        yield client


def create(http: httpx.Client, name: str = "prod", model: str = MODEL) -> dict[str, Any]:
    answer = http.post("/v1/aliases", json={"name": name, "model": model})
    assert answer.status_code == 200, answer.text
    alias: dict[str, Any] = answer.json()
    return alias


def repoint(http: httpx.Client, model: str, name: str = "prod") -> httpx.Response:
    return http.post(f"/v1/aliases/{name}", json={"model": model})


def test_an_alias_is_created_repointed_and_deleted(http: httpx.Client) -> None:
    alias = create(http)
    times = {name: alias[name] for name in ("created_at", "updated_at")}
    whole = {"name": "prod", "object": "model.alias", "model": MODEL, "status": "active", **times}
    assert alias == whole
    create(http, "a-test", CHECKPOINT)
    listed = http.get("/v1/aliases").json()
    assert (listed["object"], listed["has_more"]) == ("list", False)
    assert [each["name"] for each in listed["data"]] == ["a-test", "prod"]
    assert repoint(http, CHECKPOINT).json()["model"] == CHECKPOINT
    assert http.get("/v1/aliases/prod").json()["model"] == CHECKPOINT
    deleted = http.delete("/v1/aliases/prod").json()
    assert deleted == {"name": "prod", "object": "model.alias", "deleted": True}
    for request in (http.get, http.delete):
        assert expect_error(request("/v1/aliases/prod"), 404)["message"] == "No such alias: prod"
    assert expect_error(repoint(http, MODEL), 404)["param"] == "alias"


def test_an_alias_of_an_alias_is_of_its_model(http: httpx.Client) -> None:
    create(http, "staging", CHECKPOINT)
    create(http)
    assert repoint(http, "staging").json()["model"] == CHECKPOINT
    repoint(http, MODEL, "staging")
    assert http.get("/v1/aliases/prod").json()["model"] == CHECKPOINT


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("", "name"),
        ("a" * 65, "name"),
        (".a", "name"),
        ("a/b", "name"),
        ("a b", "name"),
        ("prod\n", "name"),
        (MODEL, "name"),
        ("base", "name"),
        ("gpt-4o-mini", "name"),
        ("taken", "name"),
        (7, "name"),
    ],
)
def test_names_that_cannot_be_given(http: httpx.Client, name: object, param: str) -> None:
    create(http, "taken")
    answer = http.post("/v1/aliases", json={"name": name, "model": CHECKPOINT})
    assert expect_error(answer, 400)["param"] == param
    assert [each["model"] for each in http.get("/v1/aliases").json()["data"]] == [MODEL]


def test_models_that_an_alias_cannot_have(http: httpx.Client) -> None:
    create(http)
    for body in ({"name": "new", "model": "base"}, {"name": "new", "model": "base", "x": 1}):
        assert expect_error(http.post("/v1/aliases", json=body), 400)
    for model, status in (("base", 400), ("ft:base:others::Abcd1234", 404), ("nothing", 404)):
        expect_error(repoint(http, model), status)
    assert http.get("/v1/aliases/prod").json()["model"] == MODEL


def test_a_project_has_a_limit_also_at_once(
    http: httpx.Client, session: Session, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "MAX_ALIASES", 3)

    def post(number: int) -> int:
        body = {"name": f"alias-{number}", "model": MODEL}
        return http.post("/v1/aliases", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(post, range(8)))
    assert sorted(statuses) == [200] * 3 + [400] * 5


def test_chat_completions_and_responses_by_an_alias(
    openai: OpenAI, http: httpx.Client, engine: FakeEngine, session: Session
) -> None:
    create(http)
    chat = openai.chat.completions.create(model="prod", messages=MESSAGES)
    assert (chat.choices[0].message.content, chat.model) == ("Hello", MODEL)
    chunks = list(openai.chat.completions.create(model="prod", messages=MESSAGES, stream=True))
    assert chunks[0].model == MODEL
    response = openai.responses.create(model="prod", input="Hello")
    assert (response.output_text, response.model) == ("Hello", MODEL)
    http.post("/v1/completions", json={"model": "prod", "prompt": "Hi"})
    http.post("/v1/embeddings", json={"model": "prod", "input": "Hi"})
    asked = {body["model"] for body in engine.bodies if "model" in body}
    assert asked == {MODEL}
    repoint(http, CHECKPOINT)
    chat = openai.chat.completions.create(model="prod", messages=MESSAGES)
    assert chat.model == CHECKPOINT


def test_classification_and_its_monitoring_by_an_alias(
    http: httpx.Client, engine: FakeEngine
) -> None:
    create(http, "sorter", CLASSIFIER)
    answer = http.post("/v1/classify", json={"model": "sorter", "input": ["the invoice"]})
    assert answer.status_code == 200, answer.text
    assert http.post("/models/sorter", json={"inputs": "the invoice"}).status_code == 200
    item = {"id": answer.json()["id"], "index": 0, "label": "billing"}
    receipt = http.post("/v1/models/sorter/feedback", json={"feedback": [item]})
    assert receipt.json()["changed"] == 1, receipt.text
    reports = [http.get(f"/v1/models/{name}/monitoring").json() for name in ("sorter", CLASSIFIER)]
    assert reports[0] == reports[1]
    assert reports[0]["model"] == CLASSIFIER
    assert reports[0]["requests"]["succeeded"] == 2


def test_jobs_and_stored_completions_by_an_alias(
    openai: OpenAI, http: httpx.Client, engine: FakeEngine
) -> None:
    create(http)
    file = openai.files.create(file=("train.jsonl", GOOD), purpose="fine-tune")
    job = openai.fine_tuning.jobs.create(model="prod", training_file=file.id)
    assert job.model == MODEL
    listed = http.get("/v1/fine_tuning/jobs", params={"model": "prod"}).json()["data"]
    assert [each["id"] for each in listed] == [job.id]
    openai.chat.completions.create(model="prod", messages=MESSAGES, store=True)
    for name in ("prod", MODEL):
        assert len(openai.chat.completions.list(model=name).data) == 1


def test_an_alias_takes_no_further_query(
    api: Api, http: httpx.Client, engine: FakeEngine, session: Session
) -> None:
    create(http)
    statements: list[str] = []
    database: Engine = api.state.database

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    def count_queries(model: str) -> int:
        statements.clear()
        body = {"model": model, "messages": MESSAGES}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
        return sum("fine_tuned_models" in statement for statement in statements)

    event.listen(database, "before_cursor_execute", note)
    try:
        counts = [count_queries(model) for model in (MODEL, "prod")]
    finally:
        event.remove(database, "before_cursor_execute", note)
    assert counts == [1, 1]


def test_lists_of_models_have_aliases(openai: OpenAI, http: httpx.Client) -> None:
    create(http)
    create(http, "best-step", CHECKPOINT)
    models = list(openai.models.list())
    assert [model.id for model in models][-2:] == ["best-step", "prod"]
    assert models[-1].owned_by == "acme"
    assert openai.models.retrieve("prod").id == "prod"
    one = http.get("/v1/models/prod", params={"include": "details"}).json()
    assert (one["details"]["alias_of"], one["details"]["base_model"]) == (MODEL, "base")


def test_a_model_with_an_alias_is_not_deleted(openai: OpenAI, http: httpx.Client) -> None:
    create(http)
    refused = expect_error(http.delete(f"/v1/models/{MODEL}"), 400)
    assert "has the alias 'prod'" in refused["message"]
    with pytest.raises(PermissionDeniedError, match=f"is an alias of the model '{MODEL}'"):
        openai.models.delete("prod")
    repoint(http, CHECKPOINT)
    assert openai.models.delete(MODEL).deleted


def test_an_alias_of_a_model_that_is_no_longer_shared_says_so(
    admin: OpenAI,
    openai: OpenAI,
    http: httpx.Client,
    neighbour: httpx.Client,
    engine: FakeEngine,
    session: Session,
) -> None:
    body = {"name": "shared", "model": MODEL}
    expect_error(neighbour.post("/v1/aliases", json=body), 404)
    other = session.scalars(select(Project.id).where(Project.name == "neighbour")).one()
    admin.fine_tuning.checkpoints.permissions.create(MODEL, project_ids=[other])
    assert neighbour.post("/v1/aliases", json=body).json()["status"] == "active"
    ask = {"model": "shared", "messages": MESSAGES}
    assert neighbour.post("/v1/chat/completions", json=ask).status_code == 200
    # The alias of another project does not keep the owner from deleting the model.
    assert openai.models.delete(MODEL).deleted
    error = expect_error(neighbour.post("/v1/chat/completions", json=ask), 404)
    assert error["code"] == "model_not_found"
    assert f"It is an alias of `{MODEL}`, which was deleted" in error["message"]
    assert neighbour.get("/v1/aliases/shared").json()["status"] == "model_unavailable"
    assert "shared" not in {each["id"] for each in neighbour.get("/v1/models").json()["data"]}


def test_projects_do_not_see_each_others_aliases(
    http: httpx.Client, neighbour: httpx.Client
) -> None:
    create(http)
    assert neighbour.get("/v1/aliases").json()["data"] == []
    expect_error(neighbour.get("/v1/aliases/prod"), 404)
    expect_error(repoint(neighbour, MODEL), 404)
    ask = {"model": "prod", "messages": MESSAGES}
    theirs = neighbour.post("/v1/chat/completions", json=ask)
    unknown = neighbour.post("/v1/chat/completions", json={**ask, "model": "none"})
    assert theirs.text.replace("prod", "none") == unknown.text


def test_a_base_model_that_gets_the_name_later_wins(
    http: httpx.Client, openai: OpenAI, session: Session, account: Account
) -> None:
    project_id = account.principal.project_id
    session.add(ModelAlias(project_id=project_id, name="gpt-4o-mini", model_name=MODEL))
    session.commit()
    assert http.get("/v1/aliases/gpt-4o-mini").json()["status"] == "name_taken"
    assert [model.id for model in openai.models.list()].count("gpt-4o-mini") == 1


def test_no_request_fails_while_an_alias_is_repointed(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    create(http)

    def ask(_: int) -> str:
        return openai.chat.completions.create(model="prod", messages=MESSAGES).model

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(ask, range(40))
        for number in range(10):
            assert repoint(http, (MODEL, CHECKPOINT)[number % 2]).status_code == 200
        assert set(answers) <= {MODEL, CHECKPOINT}


def test_aliases_of_archived_projects_are_deleted(
    http: httpx.Client, session: Session, account: Account
) -> None:
    create(http)
    assert archived_projects.delete_aliases(session, days=30, limit=10) == 0
    project = session.get_one(Project, account.principal.project_id)
    project.archived_at = clock.seconds_from_now(-31 * 86_400)
    session.commit()
    assert archived_projects.delete_aliases(session, days=30, limit=10) == 1
    assert session.scalars(select(ModelAlias)).all() == []


def test_usage_is_that_of_the_model(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, session: Session, api: Api
) -> None:
    create(http)
    openai.chat.completions.create(model="prod", messages=MESSAGES)

    def list_models() -> set[str]:
        api.recorder.flush()
        session.rollback()
        return set(session.scalars(select(TokenUsage.model)))

    # It is counted after the answer has been sent.
    wait_until("the request is counted", list_models)
    assert list_models() == {MODEL}
    with pytest.raises(NotFoundError):
        openai.chat.completions.create(model="unknown", messages=MESSAGES)
