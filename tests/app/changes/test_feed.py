"""Stream of changes: its notices and their order, without a database connection per listener."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.changes import change_log, feed
from app.changes.change_log import LogPosition
from app.changes.feed import MAX_WAITING_NOTICES, Notice, Subscription
from app.changes.schemas import NoticeType
from app.db.session import SessionMaker
from app.db.tables import ApiKey, ChangeRecord, JobState, ModelExport, Project
from app.jobs import events, states
from app.jobs.events import NewEvent
from tests.app.http.test_admission import expect_error
from tests.factories import make_file, make_job
from tests.live_api import Account, Api
from tests.tenants import make_eval, make_eval_run

URL = "/v1/changes"


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


@contextmanager
def listen(http: httpx.Client, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Notices as they come, from the first, which has been received."""
    with http.stream("GET", URL, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        notices = _parse(response)
        assert next(notices)["type"] in ("ready", "reset")
        yield notices


def _parse(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


class TestStream:
    def test_tells_of_each_kind_of_object(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        with listen(http) as notices:
            file = make_file(session, project)
            job = make_job(session, project, training_file_id=file.id)
            run = make_eval_run(session, make_eval(session, project))
            export = ModelExport(
                id="x", project_id=project.id, model_name="ft:x", format="peft", state="queued"
            )
            session.add(export)
            session.commit()
            received = [next(notices) for _ in range(4)]
            assert [(each["type"], each["id"]) for each in received] == [
                ("file", file.id),
                ("fine_tuning.job", job.id),
                ("eval.run", run.id),
                ("model.export", "ft:x"),
            ]
            seqs = [each["seq"] for each in received]
            assert seqs == sorted(set(seqs))
            assert received[0] == {
                "object": "change",
                "type": "file",
                "id": file.id,
                "seq": seqs[0],
            }

    def test_tells_of_a_jobs_events_and_changes_once_each_time(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        job = make_job(session, project)
        session.commit()
        with listen(http) as notices:
            events.append(session, job, [NewEvent("a", "a"), NewEvent("b", "b")])
            session.commit()
            assert next(notices)["id"] == job.id
            states.transition(session, job.id, to=JobState.CANCELLED)
            session.commit()
            other = make_job(session, project)
            session.commit()
            ids = [next(notices)["id"] for _ in range(2)]
            assert ids[0] == job.id, "the cancellation"
            assert ids[1] != job.id
            assert other.id

    def test_other_projects_are_told_nothing(
        self, http: httpx.Client, other_tenant: httpx.Client, session: Session, project: Project
    ) -> None:
        with listen(http) as mine, listen(other_tenant) as theirs:
            job = make_job(session, project)
            session.commit()
            assert {next(mine)["id"] for _ in range(2)} == {job.id, job.training_file_id}
            # What comes first for them is their own.
            uploaded = other_tenant.post(
                "/v1/files", data={"purpose": "user_data"}, files={"file": ("a.txt", b"x")}
            )
            assert next(theirs)["id"] == uploaded.json()["id"]

    def test_a_resumed_stream_begins_with_a_reset(self, http: httpx.Client) -> None:
        with http.stream("GET", URL, headers={"Last-Event-ID": "5"}) as response:
            assert next(_parse(response))["type"] == "reset"
        with http.stream("GET", URL) as response:
            assert next(_parse(response))["type"] == "ready"

    def test_a_change_that_commits_late_is_told_too(
        self, http: httpx.Client, session: Session, project: Project, sessions: SessionMaker
    ) -> None:
        with listen(http) as notices, sessions() as slow:
            late = make_file(slow, project)
            slow.flush()
            early = make_file(session, project)
            session.commit()
            assert next(notices)["id"] == early.id
            slow.commit()
            assert next(notices)["id"] == late.id

    def test_ends_when_its_key_is_revoked(
        self,
        http: httpx.Client,
        session: Session,
        account: Account,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(feed, "KEY_CHECK_INTERVAL_SECONDS", 0.0)
        with listen(http) as notices:
            session.get_one(ApiKey, account.principal.key_id).revoked_at = text("now()")  # type: ignore[assignment]
            session.commit()
            assert list(notices) == []

    def test_keep_alives(self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.changes.routes.KEEP_ALIVE_INTERVAL_SECONDS", 0.1)
        with http.stream("GET", URL) as response:
            lines = response.iter_lines()
            assert any(line == ": keep-alive" for line in lines)


class TestManyListeners:
    def test_200_of_a_project_leave_its_requests_and_connections_alone(
        self, api: Api, http: httpx.Client, session: Session, project: Project
    ) -> None:
        unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        with (
            httpx.Client(
                base_url=http.base_url, headers=http.headers, limits=unlimited, timeout=60
            ) as client,
            ExitStack() as streams,
        ):
            listeners = [streams.enter_context(listen(client)) for _ in range(200)]
            assert http.get("/v1/models").status_code == 200
            assert api.state.database.pool.checkedout() <= 2  # type: ignore[attr-defined]
            file = make_file(session, project)
            session.commit()
            assert {next(each)["id"] for each in listeners} == {file.id}

    def test_a_project_has_a_share_of_the_streams(
        self, http: httpx.Client, other_tenant: httpx.Client, api: Api
    ) -> None:
        with ExitStack() as streams:
            slots = api.state.listener_slots
            total, slots.total = slots.total, 2
            try:
                streams.enter_context(listen(http))
                error = expect_error(http.get(URL), 429)
                assert "1 open streams" in error["message"]
                streams.enter_context(listen(other_tenant))
            finally:
                slots.total = total


class TestSubscription:
    def test_keeps_one_notice_per_object_and_a_reset_beyond_the_bound(self) -> None:
        async def run() -> None:
            subscription = Subscription("p", None)
            for seq, name in enumerate(("a", "b", "a")):
                subscription.push(Notice(NoticeType.FILE, name, seq))
            assert [(each.id, each.seq) for each in await subscription.take()] == [
                ("b", 1),
                ("a", 2),
            ]
            for seq in range(MAX_WAITING_NOTICES + 1):
                subscription.push(Notice(NoticeType.FILE, str(seq), seq))
            taken = await subscription.take()
            assert taken == [Notice(NoticeType.RESET, None, MAX_WAITING_NOTICES)]
            assert await subscription.take(0.01) == []

        asyncio.run(run())


class TestChangeLog:
    def test_gaps_are_read_again_until_they_are_filled_or_too_old(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        position = LogPosition(10)
        position.advance([12, 15])
        assert (position.newest, set(position.gaps)) == (15, {11, 13, 14})
        position.advance([13])
        assert (position.newest, set(position.gaps)) == (15, {11, 14})
        later = time.monotonic() + change_log.GAP_SECONDS + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        position.advance([])
        assert position.gaps == {}

    def test_reads_by_the_primary_key_and_prunes_all_but_the_newest(
        self, session: Session, project: Project
    ) -> None:
        for _ in range(3):
            make_file(session, project)
        session.commit()
        position = change_log.find_position(session)
        make_file(session, project)
        session.commit()
        rows = change_log.read_after(session, position)
        assert [row.type for row in rows] == ["file"]
        session.execute(text("UPDATE changes SET created_at = now() - interval '1 hour'"))
        change_log.prune(session)
        assert [row.seq for row in session.query(ChangeRecord)] == [rows[0].seq]
