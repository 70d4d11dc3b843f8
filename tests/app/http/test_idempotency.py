"""A retried request gets the stored response of its first attempt."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.tables import File, IdempotencyRecord, Job, Outbox, Project
from app.http import idempotency
from app.http.idempotency import Idempotency, StoredResponse
from tests.app.files.test_routes import GOOD
from tests.app.http.test_admission import expect_error
from tests.live_api import Account

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture
def body(openai: OpenAI) -> dict[str, Any]:
    file = openai.files.create(file=("train.jsonl", GOOD), purpose="fine-tune")
    return {"model": "base", "training_file": file.id, "suffix": "once"}


def count_jobs(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Job)) or 0


def age(session: Session, time: timedelta) -> None:
    session.execute(
        update(IdempotencyRecord).values(created_at=IdempotencyRecord.created_at - time)
    )
    session.commit()


def test_same_key_and_body_create_one_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    first, again = (http.post(JOBS, json=body, headers={"Idempotency-Key": "a"}) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (
        None,
        "true",
    )
    assert count_jobs(session) == 1


def test_another_key_creates_another_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    for key in ("a", "b"):
        assert http.post(JOBS, json=body, headers={"Idempotency-Key": key}).is_success
    assert count_jobs(session) == 2


def test_key_reused_with_another_body_is_refused(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
    other = http.post(JOBS, json={**body, "seed": 5}, headers={"Idempotency-Key": "a"})
    assert expect_error(other, 400)["code"] == "idempotency_key_reused"
    assert count_jobs(session) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_invalid_key_is_refused(http: httpx.Client, body: dict[str, Any], key: str) -> None:
    response = http.post(JOBS, json=body, headers={"Idempotency-Key": key})
    assert expect_error(response, 400)["param"] == "Idempotency-Key"


def test_failed_request_may_be_corrected_with_the_same_key(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    headers = {"Idempotency-Key": "a"}
    assert http.post(JOBS, json={**body, "model": "none"}, headers=headers).status_code == 400
    assert http.post(JOBS, json=body, headers=headers).is_success
    assert count_jobs(session) == 1


def test_sdk_retry_creates_no_second_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    first = http.post(JOBS, json=body, headers={"x-stainless-retry-count": "0"})
    again = http.post(JOBS, json=body, headers={"x-stainless-retry-count": "1"})
    assert first.json() == again.json()
    assert count_jobs(session) == 1


def test_first_attempts_without_a_key_are_separate_requests(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    for _ in range(2):
        assert http.post(JOBS, json=body, headers={"x-stainless-retry-count": "0"}).is_success
    assert count_jobs(session) == 2


@pytest.mark.parametrize("tries", ["1", "2"])
def test_sdk_retry_of_a_lost_request_creates_the_job(
    http: httpx.Client, body: dict[str, Any], session: Session, tries: str
) -> None:
    assert http.post(JOBS, json=body, headers={"x-stainless-retry-count": tries}).is_success
    assert count_jobs(session) == 1


@pytest.mark.parametrize(
    "count_header", ["", "-1", "many", "1.5", pytest.param("9" * 5000, id="long")]
)
def test_invalid_retry_count_is_ignored(
    http: httpx.Client, body: dict[str, Any], count_header: str
) -> None:
    assert http.post(JOBS, json=body, headers={"x-stainless-retry-count": count_header}).is_success


def test_keys_last_a_day_and_sdk_retries_minutes(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    for headers in ({"Idempotency-Key": "a"}, {"x-stainless-retry-count": "0"}):
        http.post(JOBS, json=body, headers=headers)
    age(session, timedelta(hours=1))
    http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
    assert count_jobs(session) == 2
    http.post(JOBS, json=body, headers={"x-stainless-retry-count": "1"})
    assert count_jobs(session) == 3
    assert prune_records(session) == 2
    age(session, timedelta(hours=24))
    assert prune_records(session) == 0


def test_records_can_be_kept_for_a_shorter_time(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    for headers in ({"Idempotency-Key": "a"}, {"x-stainless-retry-count": "0"}):
        http.post(JOBS, json=body, headers=headers)
    age(session, timedelta(minutes=10))
    # The third is that of the upload in `body`.
    assert prune_records(session) == 3
    assert prune_records(session, hours=0.1) == 0


def prune_records(session: Session, *, hours: float = 24) -> int | None:
    """Delete expired records and return the number of the others."""
    idempotency.delete_expired(session, hours=hours)
    return session.scalar(select(func.count()).select_from(IdempotencyRecord))


def test_concurrent_attempts_create_one_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    def post(_: int) -> str:
        response = http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
        return str(response.json()["id"])

    with ThreadPoolExecutor(8) as clients:
        job_ids = set(clients.map(post, range(16)))
    assert len(job_ids) == count_jobs(session) == 1


def test_keys_are_scoped_to_the_project(
    http: httpx.Client, body: dict[str, Any], session: Session, account: Account
) -> None:
    mine = session.get_one(Project, account.principal.project_id)
    other = Project(id="proj_other", organization_id=mine.organization_id, name="other")
    session.add(other)
    theirs = Idempotency(other.id, f"POST {JOBS}?", key="a", retry_count=0)
    assert theirs.begin(session, b"{}") is None
    theirs.finish(StoredResponse(200, {"id": "theirs"}))
    session.commit()
    response = http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
    assert response.json()["id"] != "theirs"


class TestActions:
    def test_key_replays_the_response(
        self, http: httpx.Client, body: dict[str, Any], session: Session
    ) -> None:
        job = http.post(JOBS, json=body).json()["id"]
        headers = {"Idempotency-Key": "a"}
        first = http.post(f"{JOBS}/{job}/cancel", headers=headers)
        again = http.post(f"{JOBS}/{job}/cancel", headers=headers)
        assert (first.json()["status"], again.json()) == ("cancelled", first.json())
        assert again.headers["Idempotent-Replayed"] == "true"
        elsewhere = http.post(f"{JOBS}/{job}/pause", headers=headers)
        assert expect_error(elsewhere, 400)["code"] == "idempotency_key_reused"

    def test_sdk_retry_is_executed_again(
        self, http: httpx.Client, body: dict[str, Any], session: Session
    ) -> None:
        """Its first attempt may be lost, and an earlier request's response would be wrong."""
        job = session.get_one(Job, http.post(JOBS, json=body).json()["id"])
        job.state = "queued"
        session.commit()
        url = f"{JOBS}/{job.id}"
        assert http.post(f"{url}/pause").json()["status"] == "paused"
        assert http.post(f"{url}/resume").json()["status"] == "queued"
        retried = http.post(f"{url}/pause", headers={"x-stainless-retry-count": "1"})
        assert retried.json()["status"] == "paused"
        session.refresh(job)
        assert job.state == "paused"


class TestFiles:
    def post(self, http: httpx.Client, content: bytes = GOOD, **headers: str) -> httpx.Response:
        return http.post(
            "/v1/files",
            data={"purpose": "fine-tune"},
            files={"file": ("train.jsonl", content)},
            headers=headers,
        )

    def test_same_key_and_file_create_one_file(self, http: httpx.Client, session: Session) -> None:
        key = {"Idempotency-Key": "a"}
        first, again = (self.post(http, **key) for _ in range(2))
        assert first.json() == again.json()
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert session.scalars(select(File.id)).all() == [first.json()["id"]]
        # The content stored a second time is about to be deleted.
        assert len(session.scalars(select(Outbox.payload)).one()["keys"]) == 1

    def test_key_reused_with_another_file_is_refused(self, http: httpx.Client) -> None:
        key = {"Idempotency-Key": "a"}
        self.post(http, **key)
        other = self.post(http, GOOD + GOOD, **key)
        assert expect_error(other, 400)["code"] == "idempotency_key_reused"

    def test_sdk_retry_creates_no_second_file(self, http: httpx.Client, session: Session) -> None:
        for number in ("0", "1"):
            assert self.post(http, **{"x-stainless-retry-count": number}).is_success
        assert session.scalar(select(func.count()).select_from(File)) == 1
