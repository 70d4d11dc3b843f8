"""Rates of training: those of recent jobs whose steps do the same, else by the machine's speed."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import event, func
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import EventType, Project, TrainerState
from app.job_estimates import rates
from app.job_estimates.rates import DEFAULT_SETTINGS, JobPlan
from app.jobs import trainers
from app.jobs.events import NewEvent, append
from app.wire.training_rows import ModelFacts
from tests.app.job_estimates.conftest import estimate, supervised
from tests.app.training_data.test_preview import chat, upload
from tests.factories import make_file, make_job
from tests.live_api import Account
from tests.live_server import FakeEngine

FACTS = ModelFacts(
    model_type="llama",
    hidden_size=576,
    num_layers=30,
    num_parameters=10**8,
    layer_parameters=10**8,
    bytes_per_parameter=2,
    gigaflops=100.0,
)


def make_plan(method: str = "supervised", **changes: Any) -> JobPlan:
    values: dict[str, Any] = {
        "base_model": "base",
        "method": method,
        "settings": DEFAULT_SETTINGS,
        "has_validation_file": False,
        "has_test_file": False,
        "epochs": 3,
        "steps": 24,
        "tokens": 1000,
        "computed_tokens": 1000,
    }
    return JobPlan(**values | changes)


PLAN = make_plan(tokens=168)


def add_job(
    sessions: SessionMaker,
    account: Account,
    *,
    tokens: int,
    speed: float,
    seconds: float,
    first: dict[str, Any] | None = None,
    **changes: Any,
) -> None:
    """A succeeded job of 8 steps; `first` are metrics of the first one."""
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        job = make_job(
            session,
            project,
            state="succeeded",
            **{
                "base_model": "base",
                "finished_at": func.clock_timestamp() - timedelta(minutes=1),
                **changes,
            },
            attempt=1,
            trained_tokens=tokens,
            trained_seconds=seconds,
            total_steps=8,
        )
        last = {"step": 8, "tokens_per_second": speed}
        steps = [first, last] if first is not None else [last]
        append(
            session,
            job,
            [
                NewEvent(f"step:{data['step']}", "Step", type=EventType.METRICS, data=data)
                for data in steps
            ],
        )


def test_the_time_is_that_of_recent_jobs_with_similar_steps(
    http: httpx.Client, training_file: str, sessions: SessionMaker, account: Account
) -> None:
    for tokens, speed in ((24 * 7, 100.0), (24 * 8, 120.0), (24 * 6, 140.0)):
        add_job(sessions, account, tokens=tokens, speed=speed, seconds=tokens / speed + 5)
    # With steps of 100 times the size.
    add_job(sessions, account, tokens=24 * 700, speed=900.0, seconds=60)
    training = estimate(http, training_file=training_file)["training"]
    rate = training["rate"]
    assert (rate["source"], rate["jobs"], rate["overhead_seconds"]) == ("recent_jobs", 3, 5.0)
    # Of steps of 20 tokens; the median job's had 24.
    assert 100 < rate["tokens_per_second"] < 120
    seconds = 5 + 840 / rate["tokens_per_second"]
    assert training["seconds"] == pytest.approx(seconds, abs=0.1)


def test_the_rate_takes_as_many_queries_with_more_jobs(
    session: Session, sessions: SessionMaker, account: Account
) -> None:
    project_id = account.principal.project_id
    statements: list[str] = []

    def count(*arguments: Any) -> None:
        statements.append(arguments[2])

    def count_queries() -> int:
        add_job(sessions, account, tokens=168, speed=100.0, seconds=6)
        statements.clear()
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", count)
        rates.find_recent_rate(session, project_id, PLAN, usual_overhead=4)
        event.remove(connection, "before_cursor_execute", count)
        session.rollback()
        return len(statements)

    assert [count_queries() for _ in range(3)] == [1, 1, 1]


def test_a_single_job_may_have_been_the_first_after_a_start(
    http: httpx.Client, training_file: str, sessions: SessionMaker, account: Account
) -> None:
    """A model of 100 million parameters usually takes 1.3 s before and after its steps."""
    add_job(sessions, account, tokens=160, speed=100.0, seconds=30)
    rate = estimate(http, training_file=training_file)["training"]["rate"]
    assert (rate["jobs"], rate["tokens_per_second"], rate["overhead_seconds"]) == (1, 100.0, 1.3)
    add_job(sessions, account, tokens=160, speed=100.0, seconds=1.6 + 7)
    rate = estimate(http, training_file=training_file)["training"]["rate"]
    assert (rate["jobs"], rate["overhead_seconds"]) == (2, 7.0)


def test_a_rate_is_that_of_the_steps_after_the_first(
    http: httpx.Client, training_file: str, sessions: SessionMaker, account: Account
) -> None:
    """Steps of 21 tokens: 2.1 s for the first, and 0.21 s for each other."""
    first = {"step": 1, "total_steps": 8, "tokens_per_second": 10.0, "seconds_left": 7 * 2.1}
    for _ in range(2):
        add_job(sessions, account, tokens=168, speed=168 / 3.57, seconds=3.57 + 2, first=first)
    rate = estimate(http, training_file=training_file)["training"]["rate"]
    assert rate["tokens_per_second"] == pytest.approx(100, rel=0.05)
    # What the first step took longer is a job's, however many steps it has.
    assert rate["overhead_seconds"] == pytest.approx(2 + 1.89, abs=0.1)


def test_jobs_whose_steps_do_other_things_are_left_out(
    http: httpx.Client, training_file: str, sessions: SessionMaker, account: Account
) -> None:
    settings = {"quantization": "nf4"}
    add_job(sessions, account, tokens=168, speed=9.0, seconds=30, resolved_hyperparameters=settings)
    rate = estimate(http, training_file=training_file)["training"]["rate"]
    assert rate["source"] == "machine"
    method = supervised(**settings)
    rate = estimate(http, training_file=training_file, method=method)["training"]["rate"]
    assert rate["source"] == "recent_jobs"
    assert rate["tokens_per_second"] == pytest.approx(9, rel=0.05)


@pytest.mark.parametrize("recomputes", [True, False])
@pytest.mark.parametrize("chosen", ["auto", True, False])
def test_recomputation_counts_only_where_the_request_decides_about_it(
    http: httpx.Client,
    training_file: str,
    sessions: SessionMaker,
    account: Account,
    chosen: bool | str,
    recomputes: bool,
) -> None:
    """Otherwise the trainer does, by the memory of its GPU."""
    settings = {"gradient_checkpointing": recomputes}
    add_job(sessions, account, tokens=168, speed=9.0, seconds=30, resolved_hyperparameters=settings)
    method = supervised(gradient_checkpointing=chosen)
    rate = estimate(http, training_file=training_file, method=method)["training"]["rate"]
    is_like_it = chosen in ("auto", recomputes)
    assert rate["source"] == ("recent_jobs" if is_like_it else "machine")


def test_jobs_with_other_files_are_left_out(
    http: httpx.Client,
    openai: OpenAI,
    training_file: str,
    sessions: SessionMaker,
    account: Account,
) -> None:
    """Validation takes a part of the time, and the answers to a test file another."""
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        other = make_file(session, project).id
    for name in ("validation_file_id", "test_file_id"):
        add_job(sessions, account, tokens=168, speed=9.0, seconds=30, **{name: other})
    rate = estimate(http, training_file=training_file)["training"]["rate"]
    assert rate["source"] == "machine"
    held_out = upload(openai, [chat(f"held out {number}") for number in range(4)])
    training = estimate(http, training_file=training_file, validation_file=held_out)["training"]
    assert (training["rate"]["source"], training["rate"]["jobs"]) == ("recent_jobs", 1)


def test_adapters_and_whole_encoders_are_kept_apart(
    http: httpx.Client,
    openai: OpenAI,
    sessions: SessionMaker,
    account: Account,
    engine: FakeEngine,
) -> None:
    for tuning, speed in (("lora", 900.0), ("full", 300.0)):
        add_job(
            sessions,
            account,
            tokens=8 * 7 * 8,
            speed=speed,
            seconds=30,
            base_model="small-encoder",
            method="classification",
            resolved_hyperparameters={"tuning": tuning},
        )
    file = upload(openai, [{"text": f"text {n}", "label": str(n % 2)} for n in range(40)])
    found = []
    for tuning in ("auto", "lora", "full"):
        hyperparameters = {"tuning": tuning, "batch_size": 8}
        block = {"hyperparameters": hyperparameters}
        method = {"type": "classification", "classification": block}
        body = estimate(http, model="small-encoder", training_file=file, method=method)
        found.append(body["training"]["rate"]["tokens_per_second"])
    assert found == [900.0, 900.0, 300.0]


def test_the_reference_pass_of_preferences_grows_with_their_tokens(
    session: Session, sessions: SessionMaker, account: Account
) -> None:
    """It takes a third of an epoch: of 900 tokens at 100 a second, 3 s of the job's 8."""
    add_job(
        sessions,
        account,
        tokens=900,
        speed=100.0,
        seconds=9 + 8,
        method="dpo",
        resolved_hyperparameters={"n_epochs": 1},
    )
    project_id = account.principal.project_id
    plan = make_plan("dpo", epochs=1, steps=16, tokens=1800)
    rate = rates.find_recent_rate(session, project_id, plan, usual_overhead=60)
    assert rate is not None
    assert rate.overhead_seconds == pytest.approx(5 + 6, abs=0.1)


def test_a_step_of_twice_the_size_takes_less_than_twice_the_time(
    session: Session, sessions: SessionMaker, account: Account
) -> None:
    """Steps of 20 tokens take 0.2 s, of which 0.1 s for any number of tokens."""
    add_job(sessions, account, tokens=160, speed=100.0, seconds=30)
    project_id = account.principal.project_id
    plan = make_plan(epochs=1, steps=10, tokens=400)
    rate = rates.find_recent_rate(session, project_id, plan, usual_overhead=4, step_seconds=0.1)
    assert rate is not None
    assert rate.tokens_per_second == pytest.approx(40 / 0.3, rel=0.01)


def test_the_first_job_after_a_start_takes_longer(
    session: Session, sessions: SessionMaker, account: Account
) -> None:
    """It starts what others are forked from, and loads its base model there."""

    def find_overhead() -> float:
        project_id = account.principal.project_id
        session.rollback()
        return rates.find_rate(session, project_id, PLAN, FACTS).overhead_seconds

    usual = rates.derive_rate(FACTS, PLAN).overhead_seconds
    with transaction(sessions) as other:
        trainers.record_heartbeat(other, "trainer", state=TrainerState.ACTIVE)
    of_model = 100e6 * rates.START_SECONDS_PER_BILLION_PARAMETERS / 1e9
    first = usual + rates.START_SECONDS + of_model
    assert find_overhead() == pytest.approx(first, abs=0.15)
    done = {"finished_at": func.clock_timestamp()}
    add_job(sessions, account, tokens=9, speed=9.0, seconds=1, base_model="other", **done)
    assert find_overhead() == pytest.approx(usual + of_model, abs=0.15)
    add_job(sessions, account, tokens=9, speed=9.0, seconds=1, method="dpo", **done)
    assert find_overhead() == pytest.approx(usual, abs=0.1)


def test_the_machines_rate_counts_what_a_step_computes() -> None:
    def derive(method: str = "supervised", **changes: Any) -> tuple[float, float]:
        rate = rates.derive_rate(FACTS, make_plan(method, **changes))
        return rate.tokens_per_second, rate.overhead_seconds

    speed, overhead = derive()
    settings: dict[str, Any] = DEFAULT_SETTINGS
    assert derive(settings={**settings, "tuning": "full"})[0] < speed
    assert derive(settings={**settings, "gradient_checkpointing": True})[0] < speed
    assert derive(settings={**settings, "quantization": "nf4"})[1] > overhead
    # A third of the tokens do not go through the model: the inputs of pairs.
    assert derive(tokens=1500)[0] == pytest.approx(1.5 * speed, rel=0.01)
    third = 1000 / speed / 3
    assert derive("dpo")[1] == pytest.approx(overhead + third, abs=0.1)
    sampled = 20 * 125 / speed / 3
    validated = derive(has_validation_file=True, validation_tokens=1000)[1]
    assert validated == pytest.approx(overhead + 3 * third + sampled, abs=0.1)
