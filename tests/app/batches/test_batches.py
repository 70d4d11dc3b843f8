"""Batches end to end: the official SDK, the live API, and the runner beside it."""

import json
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI, RateLimitError
from openai import types as openai_types
from sqlalchemy import null, select, update
from sqlalchemy.orm import Session

from app.auth.projects import lock_active
from app.batches import service, work
from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import (
    Batch,
    Project,
    StorageUsage,
    WebhookDelivery,
    WorkList,
    WorkPhase,
    WorkRange,
    WorkResult,
)
from app.files import quota
from app.inference.endpoints import ENDPOINTS
from app.inference.unattended_requests import MAX_ENGINE_FAILURES
from app.operations import reconciler
from app.organization import projects
from app.responses.endpoint import BatchedResponse
from app.storage import ObjectStore
from app.work import claims, leases, range_run
from app.work import runner as work_runner
from app.work.kinds import ItemResult, LeaseLost, RangeClaim
from app.work.runner import WorkRunner
from tests.app.batches.conftest import (
    create_batch,
    make_line,
    read_lines,
    to_jsonl,
    wait_for_end,
)
from tests.live_api import Account, Api
from tests.live_server import FakeEngine
from tests.polling import wait_until
from tests.work_runner import RunWork


@pytest.fixture(autouse=True)
def _fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_run, "MIN_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(range_run, "RECORDING_INTERVAL_SECONDS", 0.02)


def custom_ids(lines: list[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]


def counts_of(openai: OpenAI, batch_id: str) -> tuple[int, int, int]:
    counts = openai.batches.retrieve(batch_id).request_counts
    assert counts is not None
    return counts.total, counts.completed, counts.failed


def error_codes(batch: openai_types.Batch) -> list[str | None]:
    assert batch.errors is not None
    return [error.code for error in batch.errors.data or []]


def fail(*_: Any) -> None:
    raise OSError


class TestAnswers:
    def test_are_in_the_order_of_the_input(
        self, openai: OpenAI, admin: OpenAI, account: Account, runner: WorkRunner
    ) -> None:
        created = create_batch(
            openai, to_jsonl([make_line(number) for number in range(120)]), metadata={"night": "1"}
        )
        assert created.status == "validating"
        batch = wait_for_end(openai, created.id)
        assert batch.status == "completed", batch.errors
        assert counts_of(openai, batch.id) == (120, 120, 0)
        assert batch.error_file_id is None
        lines = read_lines(openai, batch.output_file_id)
        assert custom_ids(lines) == [f"request-{number}" for number in range(120)]
        assert all(line["response"]["status_code"] == 200 for line in lines)
        assert lines[0]["response"]["body"]["choices"][0]["message"]["content"] == "Hello"
        assert len({line["id"] for line in lines}) == 120
        assert batch.usage is not None
        assert (batch.usage.input_tokens, batch.usage.output_tokens) == (120, 120)
        page = admin.admin.organization.usage.completions(
            start_time=batch.created_at - 60, group_by=["model", "batch", "api_key_id"]
        )
        (used,) = [result for bucket in page.data for result in bucket.results]
        assert (used.model, used.batch, used.api_key_id) == (
            "base",
            True,
            account.principal.key_id,
        )
        assert (used.num_model_requests, used.input_tokens, used.output_tokens) == (120, 120, 120)
        assert batch.metadata == {"night": "1"}
        assert batch.model == "base", "the alias was resolved"

    def test_errors_have_a_file_of_their_own(self, openai: OpenAI, runner: WorkRunner) -> None:
        contents = ["hi", "too long", "hi", "too long", "hi"]
        lines = [make_line(number, content) for number, content in enumerate(contents)]
        batch = wait_for_end(openai, create_batch(openai, to_jsonl(lines)).id)
        assert counts_of(openai, batch.id) == (5, 3, 2)
        answers = read_lines(openai, batch.output_file_id)
        errors = read_lines(openai, batch.error_file_id)
        assert custom_ids(answers) == ["request-0", "request-2", "request-4"]
        assert custom_ids(errors) == ["request-1", "request-3"]
        assert errors[0]["response"]["status_code"] == 400
        error = errors[0]["response"]["body"]["error"]
        assert error["code"] == "context_length_exceeded"

    def test_a_request_that_ends_the_engine_is_blamed_in_the_end(
        self, openai: OpenAI, engine: FakeEngine, runner: WorkRunner
    ) -> None:
        created = create_batch(openai, to_jsonl([make_line(0), make_line(1, "answer 500 {}")]))
        batch = wait_for_end(openai, created.id)
        (error,) = read_lines(openai, batch.error_file_id)
        assert error["response"]["status_code"] == 503
        tries = [body for body in engine.bodies if body["messages"][0]["content"] != "hi"]
        assert len(tries) == MAX_ENGINE_FAILURES
        assert counts_of(openai, batch.id) == (2, 1, 1)

    def test_of_embeddings(self, openai: OpenAI, engine: FakeEngine, runner: WorkRunner) -> None:
        body = {"model": "encoder", "input": ["a text", "another"]}
        line = make_line(0, url="/v1/embeddings", body=body)
        batch = wait_for_end(openai, create_batch(openai, to_jsonl([line]), "/v1/embeddings").id)
        assert counts_of(openai, batch.id) == (1, 1, 0)
        assert engine.bodies == [body]

    def test_of_responses(self, openai: OpenAI, engine: FakeEngine, runner: WorkRunner) -> None:
        unreadable_answer = '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
        body = {"model": "gpt-4o-mini", "instructions": "Be brief.", "max_output_tokens": 16}
        lines = [
            make_line(number, url="/v1/responses", body=body | {"input": content})
            for number, content in enumerate(["hi", "too long", f"answer 200 {unreadable_answer}"])
        ]
        lines[2]["body"].pop("instructions")
        batch = wait_for_end(openai, create_batch(openai, to_jsonl(lines), "/v1/responses").id)
        assert counts_of(openai, batch.id) == (3, 1, 2)
        (answer,) = read_lines(openai, batch.output_file_id)
        assert answer["custom_id"] == "request-0"
        response = openai_types.responses.Response.model_validate(answer["response"]["body"])
        assert (response.output_text, response.status, response.model) == (
            "Hello",
            "completed",
            "base",
        )
        assert response.instructions == "Be brief."
        assert answer["response"]["body"]["store"] is False
        with pytest.raises(NotFoundError):
            openai.responses.retrieve(response.id)
        too_long, unreadable = read_lines(openai, batch.error_file_id)
        error = too_long["response"]["body"]["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
        assert unreadable["response"]["status_code"] == 503
        sent = next(each for each in engine.bodies if each["messages"][-1]["content"] == "hi")
        assert sent == {
            "model": "base",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hi"},
            ],
            "max_completion_tokens": 16,
        }
        assert batch.usage is not None
        used = (batch.usage.input_tokens, batch.usage.output_tokens)
        assert used == (1 + 3, 1 + 4), "the unreadable answer was generated too"

    def test_bodies_are_validated_once_to_be_checked_and_once_to_be_sent(
        self, openai: OpenAI, run_work: RunWork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        validate, validated = BatchedResponse.model_validate, []

        def count(document: Any) -> BatchedResponse:
            validated.append(document)
            return validate(document)

        monkeypatch.setattr(BatchedResponse, "model_validate", count)
        line = make_line(0, url="/v1/responses", body={"model": "gpt-4o-mini", "input": "hi"})
        batch = create_batch(openai, to_jsonl([line]), "/v1/responses")
        with run_work():
            wait_for_end(openai, batch.id)
        assert counts_of(openai, batch.id) == (1, 1, 0)
        assert len(validated) == 2


class TestInput:
    def test_an_invalid_line_fails_the_batch_before_any_is_sent(
        self, openai: OpenAI, engine: FakeEngine, runner: WorkRunner
    ) -> None:
        content = to_jsonl([make_line(0), make_line(1, method="GET"), make_line(0)]) + b"{\n"
        batch = wait_for_end(openai, create_batch(openai, content).id)
        assert batch.status == "failed"
        assert batch.failed_at is not None
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert [(each.code, each.line, each.param) for each in batch.errors.data] == [
            ("invalid_method", 2, "method"),
            ("duplicate_custom_id", 3, "custom_id"),
            ("invalid_json_line", 4, None),
        ]
        assert engine.bodies == []

    def test_the_request_itself_is_checked_at_once(self, openai: OpenAI) -> None:
        def create(**changes: Any) -> None:
            valid = {"endpoint": "/v1/completions", "completion_window": "24h"}
            openai.batches.create(**{**valid, **changes})

        batch_file = openai.files.create(file=("a.jsonl", b"{}"), purpose="batch").id
        other_file = openai.files.create(file=("a.jsonl", b"{}"), purpose="user_data").id
        for changes, param in (
            ({"input_file_id": "file-unknown"}, "input_file_id"),
            ({"input_file_id": other_file}, "input_file_id"),
            ({"input_file_id": batch_file, "endpoint": "/v1/moderations"}, "endpoint"),
            ({"input_file_id": batch_file, "completion_window": "1h"}, "completion_window"),
        ):
            with pytest.raises(BadRequestError) as caught:
                create(**changes)
            assert caught.value.param == param
        with pytest.raises(NotFoundError):
            openai.batches.retrieve("batch_unknown")
        with pytest.raises(NotFoundError):
            openai.batches.cancel("batch_unknown")

    def test_its_file_is_kept_until_the_batch_has_ended(
        self, openai: OpenAI, run_work: RunWork
    ) -> None:
        batch = create_batch(openai, to_jsonl([make_line(0)]))
        with pytest.raises(BadRequestError, match="is used by the batch"):
            openai.files.delete(batch.input_file_id)
        with run_work():
            wait_for_end(openai, batch.id)
        assert openai.files.delete(batch.input_file_id).deleted


class TestStops:
    def test_cancelling_aborts_requests_and_keeps_answers(
        self, openai: OpenAI, engine: FakeEngine, runner: WorkRunner
    ) -> None:
        lines = [make_line(0), *(make_line(number, "wait") for number in range(1, 20))]
        batch = create_batch(openai, to_jsonl(lines))
        wait_until("one is answered", lambda: counts_of(openai, batch.id)[1] == 1)
        cancelled = openai.batches.cancel(batch.id)
        assert cancelled.status == "cancelling"
        assert cancelled.cancelling_at is not None
        ended = wait_for_end(openai, batch.id)
        assert ended.status == "cancelled"
        assert engine.aborted.wait(60)
        assert custom_ids(read_lines(openai, ended.output_file_id)) == ["request-0"]
        assert ended.error_file_id is None
        assert openai.batches.cancel(batch.id).status == "cancelled"

    def test_one_that_has_ended_is_not_cancelled(self, openai: OpenAI, runner: WorkRunner) -> None:
        batch = wait_for_end(openai, create_batch(openai, to_jsonl([make_line(0)])).id)
        with pytest.raises(BadRequestError, match="Cannot cancel a batch with status 'completed'"):
            openai.batches.cancel(batch.id)

    def test_an_expired_one_says_which_lines_were_not_answered(
        self, openai: OpenAI, runner: WorkRunner, sessions: SessionMaker
    ) -> None:
        contents = ["hi", "wait", "too long", "wait"]
        lines = [make_line(number, content) for number, content in enumerate(contents)]
        batch = create_batch(openai, to_jsonl(lines))
        wait_until("two are answered", lambda: counts_of(openai, batch.id) == (4, 1, 1))
        with transaction(sessions) as session:
            session.execute(update(WorkList).values(expires_at=clock.seconds_from_now(-1)))
        reconciler.build_per_job_task(reconciler.lists.find_expired, reconciler.expire_work)(
            sessions
        )
        ended = wait_for_end(openai, batch.id)
        assert ended.status == "expired"
        assert ended.expired_at is not None
        assert custom_ids(read_lines(openai, ended.output_file_id)) == ["request-0"]
        errors = read_lines(openai, ended.error_file_id)
        assert custom_ids(errors) == ["request-1", "request-2", "request-3"]
        assert [line["error"] and line["error"]["code"] for line in errors] == [
            "batch_expired",
            None,
            "batch_expired",
        ]
        assert counts_of(openai, batch.id) == (4, 1, 3)

    def test_one_whose_results_do_not_fit_in_the_quota_fails(
        self, openai: OpenAI, run_work: RunWork, account: Account, sessions: SessionMaker
    ) -> None:
        batch = create_batch(openai, to_jsonl([make_line(number) for number in range(150)]))
        with transaction(sessions) as session:
            used = quota.get_usage(session, account.principal.project_id).bytes
            # Enough for the first range of two.
            session.execute(update(Project).values(max_storage_bytes=used + 50_000))
        with run_work():
            ended = wait_for_end(openai, batch.id)
        assert ended.status == "failed"
        assert ended.errors is not None
        assert ended.errors.data is not None
        assert ended.errors.data[0].code == "storage_quota_exceeded"

    def test_an_archived_project_leaves_no_work(
        self, openai: OpenAI, run_work: RunWork, account: Account, sessions: SessionMaker
    ) -> None:
        batch = create_batch(openai, to_jsonl([make_line(0)]))
        with transaction(sessions) as session:
            project_id = account.principal.project_id
            organization = session.get_one(Project, project_id).organization_id
            projects.archive(session, organization, project_id)

        def read_state() -> str:
            with transaction(sessions) as session:
                return session.get_one(Batch, batch.id).state

        with run_work():
            wait_until("it is cancelled", lambda: read_state() == "cancelled")

    def test_one_whose_results_are_about_to_be_filed_ends_by_itself(
        self, openai: OpenAI, account: Account, sessions: SessionMaker
    ) -> None:
        batch = create_batch(openai, to_jsonl([make_line(0)]))
        with transaction(sessions) as session:
            session.execute(update(WorkList).values(phase=WorkPhase.FINISHING))
        with pytest.raises(BadRequestError, match="its results are being filed"):
            openai.batches.cancel(batch.id)
        with transaction(sessions) as session:
            project_id = account.principal.project_id
            organization = session.get_one(Project, project_id).organization_id
            projects.archive(session, organization, project_id)
            assert session.get_one(Batch, batch.id).state == "validating"

    @pytest.mark.parametrize("step", ["plan", "open_range", "finish"])
    def test_one_that_cannot_be_done_says_so(
        self, openai: OpenAI, run_work: RunWork, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        monkeypatch.setattr(work.BatchWork, step, fail)
        monkeypatch.setattr(work_runner, "MAX_FAILURES", 1)
        batch = create_batch(openai, to_jsonl([make_line(0)]))
        with run_work():
            ended = wait_for_end(openai, batch.id)
        assert (ended.status, error_codes(ended)) == ("failed", ["server_error"])


class TestUpgrades:
    def test_a_batch_to_an_endpoint_of_a_newer_version_waits_for_its_process(
        self,
        openai: OpenAI,
        run_work: RunWork,
        sessions: SessionMaker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(work_runner, "MAX_FAILURES", 1)
        monkeypatch.setattr(work_runner, "POSTPONED_DELAY_SECONDS", 0.05)
        line = make_line(0, url="/v1/responses", body={"model": "gpt-4o-mini", "input": "hi"})
        batch = create_batch(openai, to_jsonl([line]), "/v1/responses")

        def read_attempt() -> int:
            with transaction(sessions) as session:
                return session.get_one(WorkList, batch.id).attempt

        with monkeypatch.context() as older, run_work():
            older.setattr(work, "BATCH_ENDPOINTS", ENDPOINTS)
            # Each claim and each release is one.
            wait_until("it was claimed several times", lambda: read_attempt() > 6)
            assert openai.batches.retrieve(batch.id).status == "validating"
        with run_work():
            assert wait_for_end(openai, batch.id).status == "completed"


class TestRecovery:
    def test_what_a_killed_process_recorded_is_not_done_again(
        self,
        openai: OpenAI,
        engine: FakeEngine,
        run_work: RunWork,
        sessions: SessionMaker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        batch = create_batch(openai, to_jsonl([make_line(number) for number in range(10)]))
        # A process that checks the input, and is killed after three answers.
        monkeypatch.setattr(work.BatchWork, "open_range", lambda *_: (_ for _ in ()).throw(OSError))
        with run_work():
            wait_until("it is planned", lambda: openai.batches.retrieve(batch.id).in_progress_at)
        monkeypatch.undo()
        monkeypatch.setattr(range_run, "RECORDING_INTERVAL_SECONDS", 0.02)
        with transaction(sessions) as session:
            for table in (WorkRange, WorkList):
                session.execute(update(table).values(lease_until=None))
        with transaction(sessions) as session:
            dead = claims.claim(session, ["batch"])
            assert isinstance(dead, RangeClaim)
            leases.record(session, dead, [make_result(index) for index in (0, 4, 5)])
            for table in (WorkRange, WorkList):
                session.execute(update(table).values(lease_until=clock.seconds_from_now(-1)))
        assert counts_of(openai, batch.id) == (10, 3, 0)
        with run_work():
            ended = wait_for_end(openai, batch.id)
        assert counts_of(openai, batch.id) == (10, 10, 0)
        lines = read_lines(openai, ended.output_file_id)
        assert [line.get("dead", False) for line in lines] == [
            index in (0, 4, 5) for index in range(10)
        ]
        assert len(engine.bodies) == 7
        # It was only frozen: what it still writes is refused.
        with pytest.raises(LeaseLost), transaction(sessions) as session:
            leases.record(session, dead, [make_result(9)])

    def test_a_lost_part_is_made_again(
        self,
        openai: OpenAI,
        run_work: RunWork,
        sessions: SessionMaker,
        api: Api,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        batch = create_batch(openai, to_jsonl([make_line(number) for number in range(150)]))
        store: ObjectStore = api.state.store
        finish = work.BatchWork.finish
        lost: list[str] = []

        def lose_a_part_first(self: work.BatchWork, claim: Any) -> None:
            if not lost:
                with transaction(sessions) as session:
                    lost.append(session.scalars(select(WorkRange.storage_key)).all()[1] or "")
                store.delete(lost[0])
            finish(self, claim)

        monkeypatch.setattr(work.BatchWork, "finish", lose_a_part_first)
        with run_work():
            ended = wait_for_end(openai, batch.id)
        assert lost
        assert counts_of(openai, batch.id) == (150, 150, 0)
        assert custom_ids(read_lines(openai, ended.output_file_id)) == [
            f"request-{number}" for number in range(150)
        ]

    def test_it_leaves_nothing_but_its_files(
        self, openai: OpenAI, runner: WorkRunner, sessions: SessionMaker, account: Account
    ) -> None:
        batch = wait_for_end(
            openai,
            create_batch(
                openai,
                to_jsonl([make_line(0), make_line(1, "too long")]),
                output_expires_after={"anchor": "created_at", "seconds": 3600},
            ).id,
        )
        files = [
            openai.files.retrieve(id_ or "") for id_ in (batch.output_file_id, batch.error_file_id)
        ]
        assert [file.purpose for file in files] == ["batch_output"] * 2
        assert all(file.expires_at == file.created_at + 3600 for file in files)
        with transaction(sessions) as session:
            assert [
                session.scalar(select(table)) for table in (WorkList, WorkRange, WorkResult)
            ] == [None] * 3
            used = quota.get_usage(session, account.principal.project_id)
            assert used.bytes == sum(file.bytes for file in openai.files.list())
            quota.recount(session)
            assert quota.get_usage(session, account.principal.project_id) == used
            assert session.scalars(select(StorageUsage.expires_at)).unique().all() == [None]


def test_webhooks_are_sent_with_the_state(
    openai: OpenAI, runner: WorkRunner, sessions: SessionMaker
) -> None:
    openai.webhooks.create(
        name="batches", url="https://127.0.0.1:9/", event_types=["batch.completed", "batch.failed"]
    )
    ended = [create_batch(openai, content) for content in (to_jsonl([make_line(0)]), b"{\n")]
    ids = {wait_for_end(openai, batch.id).status: batch.id for batch in ended}
    with transaction(sessions) as session:
        deliveries = session.scalars(select(WebhookDelivery)).all()
        assert {row.event_type: json.loads(row.body)["data"] for row in deliveries} == {
            f"batch.{status}": {"id": id_} for status, id_ in ids.items()
        }


def test_one_is_created_while_another_is_being_created(
    openai: OpenAI, account: Account, sessions: SessionMaker
) -> None:
    """Each keeps its project from being archived, and none waits for the other to let go."""
    with transaction(sessions) as session:
        lock_active(session, account.principal.project_id)
        assert create_batch(openai, to_jsonl([make_line(0)])).status == "validating"


def test_cancelling_ones_leave_room_for_others(
    openai: OpenAI, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a runner they stay what they are."""
    monkeypatch.setattr(service, "MAX_OPEN_BATCHES", 2)
    content = to_jsonl([make_line(0)])
    first, _ = (create_batch(openai, content) for _ in range(2))
    with pytest.raises(RateLimitError, match="too many unfinished batches"):
        create_batch(openai, content)
    assert openai.batches.cancel(first.id).status == "cancelling"
    create_batch(openai, content)


def test_no_metadata_is_null(openai: OpenAI, session: Session) -> None:
    """Not the JSON null, which `IS NULL` does not find."""
    batch = create_batch(openai, to_jsonl([make_line(0)]))
    without = select(Batch.id).where(Batch.user_metadata.is_(null()))
    assert session.scalars(without).all() == [batch.id]


def test_lists_are_paged(openai: OpenAI) -> None:
    made = [create_batch(openai, to_jsonl([make_line(0)])).id for _ in range(3)]
    page = openai.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:0:-1]
    assert [batch.id for batch in openai.batches.list(limit=2)] == made[::-1]
    empty = openai.batches.list(limit=0)
    assert (empty.data, empty.has_more) == ([], False)


def make_result(index: int) -> ItemResult:
    line = {"custom_id": f"request-{index}", "dead": True}
    return ItemResult(index, is_success=True, body=json.dumps(line).encode() + b"\n", totals={})
