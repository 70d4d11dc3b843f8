"""Limits of a project, their present use, and retention."""

from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.db.tables import Project
from app.files import quota
from app.http.rate_limits import RateLimit, RateLimitStatus
from app.jobs import scheduling
from app.operations.project_limits import list_rate_limits
from app.settings import Settings
from tests.factories import make_job
from tests.live_api import Account, Api

URL = "/v1/limits"
ROW = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


def find(http: httpx.Client) -> dict[str, Any]:
    return {limit["name"]: limit for limit in http.get(URL).json()["limits"]}


def test_use_of_the_projects_quotas(http: httpx.Client, session: Session, project: Project) -> None:
    quota.set_limits(session, project.id, max_bytes=0, max_files=7, max_uploads=2)
    scheduling.set_limits(session, project.id, max_running=3, max_queued=4)
    make_job(session, project)
    session.commit()
    before = find(http)
    body = {"purpose": "fine-tune", "filename": "a.jsonl", "bytes": 10, "mime_type": "text/plain"}
    assert http.post("/v1/uploads", json=body).status_code == 200
    upload = {"files": {"file": ("b.jsonl", ROW)}, "data": {"purpose": "fine-tune"}}
    assert http.post("/v1/files", **upload).status_code == 200
    limits = find(http)
    assert limits["stored_bytes"]["limit"] is None
    assert limits["stored_bytes"]["used"] == before["stored_bytes"]["used"] + len(ROW)
    assert limits["stored_files"]["limit"] == 7
    assert limits["stored_files"]["used"] == before["stored_files"]["used"] + 1
    assert (limits["open_uploads"]["used"], limits["open_uploads"]["limit"]) == (1, 2)
    assert (limits["running_jobs"]["used"], limits["running_jobs"]["limit"]) == (0, 3)
    assert (limits["queued_jobs"]["used"], limits["queued_jobs"]["limit"]) == (1, 4)


def test_use_of_the_keys_rate_limits(http: httpx.Client, api: Api) -> None:
    settings = api.state.settings
    limits = find(http)
    assert limits["requests_per_minute"]["limit"] == settings.rate_limit_requests_per_minute
    assert limits["concurrent_requests"]["used"] is None


def test_use_is_what_the_buckets_lack() -> None:
    status = RateLimitStatus(RateLimit(requests=100, bytes=1000), True, 92.9, -200)
    limits = {limit.name: limit for limit in list_rate_limits(Settings(), status)}
    assert limits["requests_per_minute"].used == 7
    assert limits["bytes_per_minute"].used == 1200
    assert limits["concurrent_requests"].used is None


def test_the_use_of_other_projects_is_not_counted(
    http: httpx.Client, other_tenant: httpx.Client
) -> None:
    upload = {"files": {"file": ("b.jsonl", ROW)}, "data": {"purpose": "fine-tune"}}
    other_tenant.post("/v1/files", **upload)
    assert find(http)["stored_files"]["used"] == 0


def test_retention_is_that_of_the_settings(http: httpx.Client, api: Api) -> None:
    settings = api.state.settings
    found = {item["name"]: item for item in http.get(URL).json()["retention"]}
    days = settings.stored_completion_retention_days
    assert found["responses"]["seconds"] == days * 86_400
    # Zero days keep forever.
    assert settings.job_retention_days == 0
    assert found["jobs"]["seconds"] is None
    assert found["exports"]["seconds"] == settings.export_retention_hours * 3600
    assert found["exports"]["since"] == "last_used"
