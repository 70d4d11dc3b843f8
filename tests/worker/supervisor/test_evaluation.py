"""The test file of an attempt: measured after training, resumed, and never the job's end."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.tables import EventLevel, File, Job, JobEvent, JobState, JobTestAnswer
from app.jobs import test_answers
from app.jobs.test_answers import StoredAnswer
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import (
    RunInBackground,
    TrainerFixture,
    attempt_outcomes,
    event_messages,
)
from tests.worker.supervisor.test_stopping import with_settings
from worker.supervisor.attempt import TrainerContext

TEST_FILE = b'{"messages": []}\n' * 4


def evaluation(trainer: TrainerFixture, job_id: str) -> dict[str, Any]:
    with transaction(trainer.sessions) as session:
        file = session.get_one(File, session.get_one(Job, job_id).evaluation_file_id)
    content: dict[str, Any] = json.loads(trainer.store.get(file.storage_key))
    return content


def stored_answers(trainer: TrainerFixture, job_id: str) -> list[str]:
    with transaction(trainer.sessions) as session:
        rows = select(JobTestAnswer.text).where(JobTestAnswer.job_id == job_id)
        return list(session.scalars(rows.order_by(JobTestAnswer.row)))


def test_results_are_in_the_job_its_events_and_its_evaluation(trainer: TrainerFixture) -> None:
    job_id = trainer.create_job(test_file=TEST_FILE)
    assert trainer.runner.run_next()
    job = trainer.get_job(job_id)
    assert job.state == "succeeded"
    metrics = {"exact_match": 0.25, "bleu": 31.5}
    assert job.test_results == {"rows": 4, "measured_rows": 4, "tuned": metrics}
    assert event_messages(trainer, job_id)[-3] == (
        "Test file, 4 of 4 rows: tuned model: exact match 0.25, BLEU 31.5"
    )
    assert len(evaluation(trainer, job_id)["test"]["answers"]) == 4
    assert evaluation(trainer, job_id)["engine"] == {"metric": "mean_logprob", "tokens": 9}
    assert stored_answers(trainer, job_id) == []


def test_an_interrupted_evaluation_keeps_its_answers(
    trainer: TrainerFixture, run_in_background: RunInBackground
) -> None:
    job_id = trainer.create_job(test_file=TEST_FILE, evaluation="wait")
    thread = run_in_background(trainer.runner.run_next)
    wait_until("an answer is stored", lambda: stored_answers(trainer, job_id) != [])
    trainer.context.stopping.set()
    thread.join(timeout=60)
    assert attempt_outcomes(trainer, job_id) == [("yielded", 75)]
    # Postgres' texts have no U+0000.
    assert stored_answers(trainer, job_id) == ["row 1 of attempt 1\ufffd"]
    trainer.context.stopping.clear()
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "succeeded"
    texts = [answer["tuned"] for answer in evaluation(trainer, job_id)["test"]["answers"]]
    assert texts[:2] == ["row 1 of attempt 1\ufffd", "row 2 of attempt 2\0"]


def test_answers_of_other_weights_are_replaced(
    trainer: TrainerFixture, run_in_background: RunInBackground
) -> None:
    """The job's data began again, and training came to other weights."""
    job_id = trainer.create_job(test_file=TEST_FILE, evaluation="retrained")
    thread = run_in_background(trainer.runner.run_next)
    wait_until("an answer is stored", lambda: stored_answers(trainer, job_id) != [])
    trainer.context.stopping.set()
    thread.join(timeout=60)
    trainer.context.stopping.clear()
    assert trainer.runner.run_next()
    texts = [answer["tuned"] for answer in evaluation(trainer, job_id)["test"]["answers"]]
    assert texts == [f"row {row} of attempt 2\0" for row in range(1, 5)]


def test_a_stored_answer_is_replaced_only_by_one_of_another_origin(
    trainer: TrainerFixture, session: Session
) -> None:
    job_id = trainer.create_job(test_file=TEST_FILE)
    job = session.get_one(Job, job_id)
    job.state, job.attempt = JobState.RUNNING, 1
    session.flush()
    for origin, text in (("a", "one"), ("a", "two"), ("b", "three"), ("b", "four")):
        test_answers.record(session, job_id, 1, [StoredAnswer("tuned", 1, origin, text)])
    assert test_answers.list_all(session, job_id) == [StoredAnswer("tuned", 1, "b", "three")]


def test_the_event_has_all_metrics() -> None:
    """Question answering has exact match and F1."""
    metrics = {"exact_match": 0.5, "f1": 0.75, "json_rows": 2.0, "rows": 4}
    message = test_answers.build_event({"rows": 4, **metrics}).message
    assert message == "Test file, 4 of 4 rows: exact match 0.5, F1 0.75"


def test_an_evaluation_that_crashes_leaves_the_model(trainer: TrainerFixture) -> None:
    job_id = trainer.create_job(test_file=TEST_FILE, evaluation="crash")
    assert trainer.runner.run_next()
    job = trainer.get_job(job_id)
    assert (job.state, job.fine_tuned_model is not None) == ("succeeded", True)
    assert job.test_results is not None
    assert "ended unexpectedly" in job.test_results["error"]
    with transaction(trainer.sessions) as session:
        warnings = session.scalars(
            select(JobEvent.message).where(
                JobEvent.job_id == job_id, JobEvent.level == EventLevel.WARN
            )
        ).all()
    assert any(line.startswith("The test file could not be measured.") for line in warnings)


@pytest.mark.parametrize(
    ("fault", "limit", "reason"),
    [
        ("stall", {"training_stall_timeout_seconds": 1.0}, "ended unexpectedly"),
        ("wait", {"max_job_hours": 3 / 3600}, "reached its time limit"),
    ],
)
def test_an_evaluation_that_takes_too_long_leaves_the_model(
    context: TrainerContext, fault: str, limit: dict[str, float], reason: str
) -> None:
    trainer = with_settings(context, context.settings.model_copy(update=limit))
    job_id = trainer.create_job(test_file=TEST_FILE, evaluation=fault)
    assert trainer.runner.run_next()
    job = trainer.get_job(job_id)
    assert (job.state, job.fine_tuned_model is not None) == ("succeeded", True)
    assert job.test_results is not None
    assert reason in job.test_results["error"]


def test_a_job_without_a_test_file_has_no_results(trainer: TrainerFixture) -> None:
    job_id = trainer.create_job(evaluation="crash")
    assert trainer.runner.run_next()
    job = trainer.get_job(job_id)
    assert (job.state, job.test_results, job.evaluation_file_id) == ("succeeded", None, None)
