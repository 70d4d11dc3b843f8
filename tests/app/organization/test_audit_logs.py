"""The audit log: what admin keys and commands change, by the official client."""

from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import AuditLog, Project
from app.http.query_params import MAX_TIME
from app.operations.retention import RetentionPolicy, sweep
from app.organization import operator_changes
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account, Api, client_with_secret, create_admin_key

PATH = "/v1/organization/audit_logs"


def events(admin: OpenAI, **filters: Any) -> list[str]:
    """Types of the records, oldest first."""
    found = [record.type for record in admin.admin.organization.audit_logs.list(**filters)]
    return found[::-1]


def change_all(admin: OpenAI, http: httpx.Client, model: str) -> dict[str, str]:
    """Make one change of each kind; return the ids of what was changed."""
    organization = admin.admin.organization
    project = organization.projects.create(name="desk")
    organization.projects.update(project.id, name="help desk")
    accounts = organization.projects.service_accounts
    account = accounts.create(project.id, name="bot")
    accounts.update(account.id, project_id=project.id, name="robot", role="owner")
    assert account.api_key is not None
    keys = f"/v1/organization/projects/{project.id}/api_keys/{account.api_key.id}"
    assert http.post(keys, json={"expires_in_seconds": 3600}).status_code == 200
    assert http.delete(keys).status_code == 200
    permissions = admin.fine_tuning.checkpoints.permissions
    permission = permissions.create(model, project_ids=[project.id]).data[0]
    permissions.delete(permission.id, fine_tuned_model_checkpoint=model)
    accounts.delete(account.id, project_id=project.id)
    key = organization.admin_api_keys.create(name="second")
    organization.admin_api_keys.delete(key.id)
    organization.projects.archive(project.id)
    return {
        "project": project.id,
        "account": account.id,
        "key": account.api_key.id,
        "permission": permission.id,
        "admin_key": key.id,
    }


@pytest.fixture
def model(session: Session, account: Account) -> str:
    project = session.get_one(Project, account.principal.project_id)
    return make_model(session, make_job(session, project), "ft:base:acme::abcdefgh").name


def test_each_change_is_recorded(
    admin: OpenAI, admin_http: httpx.Client, model: str, account: Account
) -> None:
    changed = change_all(admin, admin_http, model)
    records = list(admin.admin.organization.audit_logs.list())[::-1]
    project, bot, key = changed["project"], changed["account"], changed["key"]
    permission, admin_key = changed["permission"], changed["admin_key"]
    assert [(each.type, getattr(each, each.type.replace(".", "_")).id) for each in records] == [
        ("project.created", project),
        ("project.updated", project),
        ("service_account.created", bot),
        ("api_key.created", key),
        ("service_account.updated", bot),
        ("api_key.updated", key),
        ("api_key.deleted", key),
        ("checkpoint.permission.created", permission),
        ("checkpoint.permission.deleted", permission),
        ("service_account.deleted", bot),
        ("api_key.created", admin_key),
        ("api_key.deleted", admin_key),
        ("project.archived", project),
    ]
    by_type = {each.type: each for each in records}
    created: Any = by_type["project.created"]
    assert (created.project.id, created.project.name) == (project, "help desk")
    assert created.project_created.data.name == "desk"
    assert created.actor.type == "api_key"
    updated: Any = by_type["api_key.updated"]
    assert updated.api_key_updated.changes_requested.expires_in_seconds == 3600
    permitted: Any = by_type["checkpoint.permission.created"]
    assert permitted.checkpoint_permission_created.data.fine_tuned_model_checkpoint == model


def test_no_secret_is_in_a_record(
    admin: OpenAI, admin_http: httpx.Client, admin_secret: str, model: str
) -> None:
    change_all(admin, admin_http, model)
    text = admin_http.get(f"{PATH}?limit=100").text
    assert "sk-" not in text
    assert admin_secret not in text


def test_a_refused_change_is_not_recorded(
    admin_http: httpx.Client, account: Account, session: Session
) -> None:
    path = "/v1/organization/projects/proj_unknown"
    expect_error(admin_http.post(path, json={"name": "x"}), 404)
    keys = f"/v1/organization/projects/{account.principal.project_id}/api_keys/key_unknown"
    expect_error(admin_http.delete(keys), 404)
    assert session.scalars(select(AuditLog)).all() == []


class TestFilters:
    @pytest.fixture
    def changed(self, admin: OpenAI, admin_http: httpx.Client, model: str) -> dict[str, str]:
        return change_all(admin, admin_http, model)

    def test_lists(self, admin: OpenAI, changed: dict[str, str], account: Account) -> None:
        assert events(admin, event_types=["project.created", "project.archived"]) == [
            "project.created",
            "project.archived",
        ]
        assert events(admin, resource_ids=[changed["admin_key"]]) == [
            "api_key.created",
            "api_key.deleted",
        ]
        assert len(events(admin, project_ids=[changed["project"]])) == 10
        assert events(admin, project_ids=[account.principal.project_id]) == []
        assert events(admin, event_types=["login.failed"]) == [], "nobody logs in here"
        assert events(admin, tenant_only=True) == []

    def test_actors(self, admin: OpenAI, changed: dict[str, str]) -> None:
        record: Any = admin.admin.organization.audit_logs.list(limit=1).data[0]
        everything = len(events(admin))
        assert len(events(admin, actor_ids=[record.actor.api_key.id])) == everything
        assert len(events(admin, actor_ids=[record.actor.api_key.user.id])) == everything
        assert len(events(admin, actor_emails=[record.actor.api_key.user.email])) == everything
        assert events(admin, actor_ids=["key_unknown"]) == []
        assert events(admin, actor_emails=["nobody@example.com"]) == []

    def test_times(self, admin: OpenAI, changed: dict[str, str]) -> None:
        records = list(admin.admin.organization.audit_logs.list())
        newest, oldest = records[0].effective_at, records[-1].effective_at
        everything = len(records)
        assert len(events(admin, effective_at={"gte": oldest, "lte": newest})) == everything
        assert events(admin, effective_at={"gt": newest}) == []
        assert events(admin, effective_at={"gt": MAX_TIME}) == []
        assert len(events(admin, effective_at={"lte": MAX_TIME})) == everything
        assert events(admin, effective_at={"lt": oldest}) == []

    def test_pages_in_both_directions(self, admin: OpenAI, changed: dict[str, str]) -> None:
        logs = admin.admin.organization.audit_logs
        ids = [record.id for record in logs.list()]
        assert [record.id for record in logs.list(limit=4)] == ids, "over several pages"
        page = logs.list(limit=4, before=ids[6])
        assert [record.id for record in page.data] == ids[2:6]
        assert page.has_more
        first = logs.list(limit=4, before=ids[2])
        assert ([record.id for record in first.data], first.has_more) == (ids[:2], False)
        between = logs.list(after=ids[1], before=ids[4])
        assert [record.id for record in between.data] == ids[2:4]
        assert logs.list(before="audit_log-unknown").data == []

    @pytest.mark.parametrize("name", ["effective_at", "effective_at[zz]", "effective_at[]"])
    def test_unknown_bounds_of_times(self, admin_http: httpx.Client, name: str) -> None:
        error = expect_error(admin_http.get(PATH, params={name: "5"}), 400)
        assert error["param"] == "effective_at"

    @pytest.mark.parametrize(
        "query",
        [
            "limit=-1",
            "limit=101",
            "effective_at[gt]=-1",
            f"effective_at[gt]={MAX_TIME + 1}",
            "effective_at[gt]=x",
            "tenant_only=x",
        ],
    )
    def test_invalid_queries(self, admin_http: httpx.Client, query: str) -> None:
        expect_error(admin_http.get(f"{PATH}?{query}"), 400)


def test_another_organization_sees_nothing(admin: OpenAI, api: Api, sessions: SessionMaker) -> None:
    admin.admin.organization.projects.create(name="desk")
    (record,) = admin.admin.organization.audit_logs.list().data
    others = create_admin_key(sessions, "others")
    with client_with_secret(api, others) as http:
        assert http.get(PATH).json()["data"] == []
        assert http.get(f"{PATH}?after={record.id}").json()["data"] == []
        assert http.get(f"{PATH}?before={record.id}").json()["data"] == []


def test_commands_are_recorded_with_their_user(
    admin: OpenAI, account: Account, sessions: SessionMaker
) -> None:
    organization = account.principal.organization_slug
    with transaction(sessions) as session:
        for project_id in (None, account.principal.project_id):
            operator_changes.create_key(
                session, organization, "laptop", project_id=project_id, user="root"
            )
        operator_changes.create_admin_key(session, organization, "ops", user="root")
        key = operator_changes.revoke_key(session, account.principal.key_id, user="root")
        assert key is not None
        assert operator_changes.revoke_key(session, "key_unknown", user="root") is None
        project = session.get_one(Project, account.principal.project_id)
        operator_changes.record_limits(session, project, user="root", max_files=None)
        operator_changes.record_limits(session, project, user="root", max_files=5, max_bytes=None)
    assert events(admin) == [*["api_key.created"] * 3, "api_key.deleted", "project.updated"]
    record: Any = admin.admin.organization.audit_logs.list(limit=1).data[0]
    assert (record.actor.type, record.actor.session.user.id) == ("session", "root")
    assert record.project_updated.changes_requested.model_extra == {"max_files": 5}


def test_old_records_are_deleted(admin: OpenAI, api: Api, session: Session) -> None:
    for name in ("old", "new"):
        admin.admin.organization.projects.create(name=name)
    row = session.scalars(select(AuditLog).order_by(AuditLog.created_at)).first()
    assert row is not None
    row.created_at = session.scalar(select(func.now() - func.make_interval(0, 0, 0, 366)))
    session.commit()
    sweep(api.state.sessions, RetentionPolicy(audit_log_days=0))
    assert len(events(admin)) == 2, "0 keeps them forever"
    sweep(api.state.sessions, RetentionPolicy())
    (left,) = admin.admin.organization.audit_logs.list().data
    assert left.project is not None
    assert left.project.name == "new"
