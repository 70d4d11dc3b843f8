"""A request that comes again gets the answer that its first try got."""

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


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Job)) or 0


def age(session: Session, time: timedelta) -> None:
    session.execute(
        update(IdempotencyRecord).values(created_at=IdempotencyRecord.created_at - time)
    )
    session.commit()


def test_the_same_key_and_body_make_one_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    first, again = (http.post(JOBS, json=body, headers={"Idempotency-Key": "a"}) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (
        None,
        "true",
    )
    assert count(session) == 1


def test_another_key_makes_another_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    for key in ("a", "b"):
        assert http.post(JOBS, json=body, headers={"Idempotency-Key": key}).is_success
    assert count(session) == 2


def test_a_key_does_not_stand_for_two_requests(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
    other = http.post(JOBS, json={**body, "seed": 5}, headers={"Idempotency-Key": "a"})
    assert expect_error(other, 400)["code"] == "idempotency_key_reused"
    assert count(session) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_what_is_no_key_is_refused(http: httpx.Client, body: dict[str, Any], key: str) -> None:
    answer = http.post(JOBS, json=body, headers={"Idempotency-Key": key})
    assert expect_error(answer, 400)["param"] == "Idempotency-Key"


def test_a_request_that_failed_may_come_again_corrected(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    headers = {"Idempotency-Key": "a"}
    assert http.post(JOBS, json={**body, "model": "none"}, headers=headers).status_code == 400
    assert http.post(JOBS, json=body, headers=headers).is_success
    assert count(session) == 1


def test_a_later_try_of_an_sdk_makes_no_second_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    first = http.post(JOBS, json=body, headers={"x-stainless-retry-count": "0"})
    again = http.post(JOBS, json=body, headers={"x-stainless-retry-count": "1"})
    assert first.json() == again.json()
    assert count(session) == 1


def test_a_first_try_is_a_new_wish_however_often_it_comes(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    for _ in range(2):
        assert http.post(JOBS, json=body, headers={"x-stainless-retry-count": "0"}).is_success
    assert count(session) == 2


@pytest.mark.parametrize("tries", ["1", "2"])
def test_a_later_try_of_a_request_that_never_arrived_makes_the_job(
    http: httpx.Client, body: dict[str, Any], session: Session, tries: str
) -> None:
    assert http.post(JOBS, json=body, headers={"x-stainless-retry-count": tries}).is_success
    assert count(session) == 1


@pytest.mark.parametrize("strange", ["", "-1", "many", "1.5", pytest.param("9" * 5000, id="long")])
def test_a_strange_count_is_no_error(
    http: httpx.Client, body: dict[str, Any], strange: str
) -> None:
    assert http.post(JOBS, json=body, headers={"x-stainless-retry-count": strange}).is_success


def test_keys_live_for_a_day_and_tries_for_minutes(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    for headers in ({"Idempotency-Key": "a"}, {"x-stainless-retry-count": "0"}):
        http.post(JOBS, json=body, headers=headers)
    age(session, timedelta(hours=1))
    http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
    assert count(session) == 2
    http.post(JOBS, json=body, headers={"x-stainless-retry-count": "1"})
    assert count(session) == 3
    age(session, timedelta(hours=24))
    idempotency.delete_expired(session)
    assert session.scalar(select(func.count()).select_from(IdempotencyRecord)) == 0


def test_tries_at_the_same_time_make_one_job(
    http: httpx.Client, body: dict[str, Any], session: Session
) -> None:
    def post(_: int) -> str:
        answer = http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
        return str(answer.json()["id"])

    with ThreadPoolExecutor(8) as clients:
        made = set(clients.map(post, range(16)))
    assert len(made) == count(session) == 1


def test_another_projects_key_is_another_key(
    http: httpx.Client, body: dict[str, Any], session: Session, account: Account
) -> None:
    mine = session.get_one(Project, account.principal.project_id)
    other = Project(id="proj_other", organization_id=mine.organization_id, name="other")
    session.add(other)
    theirs = Idempotency(other.id, f"POST {JOBS}?", key="a", retry_count=0)
    assert theirs.begin(session, b"{}") is None
    theirs.finish(StoredResponse(200, {"id": "theirs"}))
    session.commit()
    answer = http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})
    assert answer.json()["id"] != "theirs"


class TestActions:
    def test_a_key_replays_what_it_did(
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

    def test_a_later_try_is_heard_again(
        self, http: httpx.Client, body: dict[str, Any], session: Session
    ) -> None:
        """Its first try may be lost, and the answer of a wish before would be a wrong one."""
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

    def test_the_same_key_and_file_make_one(self, http: httpx.Client, session: Session) -> None:
        key = {"Idempotency-Key": "a"}
        first, again = (self.post(http, **key) for _ in range(2))
        assert first.json() == again.json()
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert session.scalars(select(File.id)).all() == [first.json()["id"]]
        # The bytes that came a second time are on their way out of the store.
        assert len(session.scalars(select(Outbox.payload)).one()["keys"]) == 1

    def test_a_key_does_not_stand_for_two_files(self, http: httpx.Client) -> None:
        key = {"Idempotency-Key": "a"}
        self.post(http, **key)
        other = self.post(http, GOOD + GOOD, **key)
        assert expect_error(other, 400)["code"] == "idempotency_key_reused"

    def test_a_later_try_of_an_sdk_makes_no_second_file(
        self, http: httpx.Client, session: Session
    ) -> None:
        for number in ("0", "1"):
            assert self.post(http, **{"x-stainless-retry-count": number}).is_success
        assert session.scalar(select(func.count()).select_from(File)) == 1
