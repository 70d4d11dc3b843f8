"""Failures that an estimate foresees: of files, of their rendered rows, and of limits."""

from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy.orm import Session

from app.db.tables import Project
from app.training_data.file_scan import MAX_SAMPLED_ROWS
from tests.app.job_estimates.conftest import estimate, supervised
from tests.app.jobs.test_routes import make_model
from tests.app.training_data.test_preview import chat, upload
from tests.factories import make_file, make_job
from tests.live_api import Account, Api, serve_with
from tests.live_server import FakeEngine

ERROR = supervised(long_rows="error")


def test_files_that_cannot_train_are_a_problem(http: httpx.Client, openai: OpenAI) -> None:
    body = estimate(http, training_file=upload(openai, [chat("1")]))
    assert body["training"] is None
    assert body["problem"]["code"] == "invalid_n_examples"
    assert body["problem"]["param"] == "training_file"


def test_files_of_which_nothing_can_be_learned_are_a_problem(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    lines = [chat(f"left out {number}") for number in range(10)]
    body = estimate(http, training_file=upload(openai, lines))
    assert body["training"] is None
    problem = body["problem"]
    assert (problem["code"], problem["param"]) == ("invalid_training_file", "training_file")
    assert "10 examples" in problem["message"]
    assert "It is longer than a row may be." in problem["message"]
    body = estimate(http, training_file=upload(openai, [*lines, chat("learned")]))
    assert (body["problem"], body["training"]["rows"]) == (None, 1)


def test_a_sample_of_which_nothing_can_be_learned_is_a_warning(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    """As of 12 chats of 1 MB, of which one or two fit into a sample."""
    lines = [chat(f"left out {number}") for number in range(MAX_SAMPLED_ROWS + 100)]
    body = estimate(http, training_file=upload(openai, lines))
    assert body["problem"] is None
    (warning,) = body["training"]["warnings"]
    assert "measured can be learned. The job fails if none of the others can." in warning
    assert "It is longer than a row may be." in warning


EMBEDDING = {"model": "small-encoder", "method": {"type": "embedding"}}


def scored(number: int, score: float) -> dict[str, Any]:
    return {"sentence1": f"one {number}", "sentence2": f"other {number}", "score": score}


@pytest.mark.parametrize("role", ["training", "validation"])
def test_pairs_that_all_have_one_score_are_a_problem(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, role: str
) -> None:
    distinct = upload(openai, [scored(number, number) for number in range(12)])
    equal = upload(openai, [scored(number, 0.5) for number in range(20, 32)])
    files = {"training_file": distinct, f"{role}_file": equal}
    problem = estimate(http, **EMBEDDING, **files)["problem"]
    assert (problem["code"], problem["param"]) == (f"invalid_{role}_file", f"{role}_file")
    assert "have the same score, so there is no order to learn" in problem["message"]
    assert estimate(http, **EMBEDDING, training_file=distinct)["problem"] is None


def test_a_sample_of_pairs_with_one_score_is_a_warning(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    file = upload(openai, [scored(number, 0.5) for number in range(MAX_SAMPLED_ROWS + 100)])
    body = estimate(http, **EMBEDDING, training_file=file)
    (warning,) = body["training"]["warnings"]
    assert "All 1,000 examples of the training file that were measured have the same" in warning


@pytest.mark.parametrize(
    ("modules", "unknown"),
    [
        (["nope", "q_proj"], "named nope,"),
        (["layers.0.self_attn.nope"], "named layers.0.self_attn.nope,"),
        (["layers.0.self_attn.q_proj", "v_proj"], None),
        ("all-linear", None),
    ],
)
def test_layers_that_the_model_does_not_have_are_a_warning(
    http: httpx.Client, training_file: str, engine: FakeEngine, modules: Any, unknown: str | None
) -> None:
    body = {"training_file": training_file, "method": supervised(target_modules=modules)}
    assert estimate(http, **body)["training"]["warnings"] == [], "names that are not known"
    engine.facts = {**engine.facts, "matrix_names": ["q_proj", "v_proj"]}
    warnings = estimate(http, **body)["training"]["warnings"]
    assert len(warnings) == (unknown is not None)
    assert all(unknown in each and "it has q_proj, v_proj." in each for each in warnings if unknown)


@pytest.mark.parametrize("role", ["training", "validation"])
def test_rows_that_are_too_long_are_a_problem_where_they_are_errors(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, training_file: str, role: str
) -> None:
    rows = [chat(str(number)) for number in range(12)]
    rows[3], rows[7] = chat("too long"), chat("too long, too")
    file = upload(openai, rows)
    files = {"training_file": training_file, f"{role}_file": file}
    problem = estimate(http, **files, method=ERROR)["problem"]
    assert (problem["code"], problem["param"]) == (f"invalid_{role}_file", f"{role}_file")
    assert "2 of its 12 examples fail it, such as example 4: " in problem["message"]
    assert problem["message"].endswith("or use long_rows 'truncate' or 'drop'.")
    assert estimate(http, **files)["problem"] is None


def test_a_single_failing_row_is_named(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    rows = [chat(str(number)) for number in range(12)]
    rows[3] = chat("too long")
    message = estimate(http, training_file=upload(openai, rows), method=ERROR)["problem"]["message"]
    assert "1 of its 12 examples fails it, example 4: It is longer than a row may be. " in message
    assert "Change it, or use long_rows" in message


def test_failing_rows_of_a_sample_have_no_number(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    rows = [chat(f"too long {number}") for number in range(MAX_SAMPLED_ROWS + 100)]
    message = estimate(http, training_file=upload(openai, rows), method=ERROR)["problem"]["message"]
    assert "1,000 of its 1,000 measured examples fail it, such as one of them: It is" in message


def test_rows_that_were_not_measured_may_be_too_long(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    file = upload(openai, [chat(str(number)) for number in range(MAX_SAMPLED_ROWS + 100)])
    (warning,) = estimate(http, training_file=file, method=ERROR)["training"]["warnings"]
    assert "1,000 examples were measured. The job fails if another one is longer" in warning
    assert estimate(http, training_file=file)["training"]["warnings"] == []


def test_a_job_that_trains_more_tokens_than_it_may_is_a_problem(
    http: httpx.Client, training_file: str, api: Api, account: Account
) -> None:
    """Creation knows the file's bytes alone, and not how many epochs `auto` will choose."""
    assert estimate(http, training_file=training_file)["training"]["trained_tokens"] == 840
    with serve_with(api, account, max_job_tokens=839) as client:
        problem = estimate(client, training_file=training_file)["problem"]
    assert (problem["code"], problem["param"]) == ("token_limit_exceeded", "training_file")


def test_a_job_that_takes_longer_than_it_may_is_warned_of(
    http: httpx.Client, training_file: str, api: Api, account: Account
) -> None:
    assert estimate(http, training_file=training_file)["training"]["warnings"] == []
    with serve_with(api, account, max_job_hours=1e-4) as client:
        (warning,) = estimate(client, training_file=training_file)["training"]["warnings"]
    assert "ends jobs after 0.0001" in warning


def test_labels_that_the_model_to_continue_from_does_not_know_are_a_problem(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, session: Session, account: Account
) -> None:
    project = session.get_one(Project, account.principal.project_id)
    summary: dict[str, Any] = {"labels": {"0": 20, "1": 20}, "shape": "label"}
    known = make_file(session, project, format="classification", summary=summary)
    job = make_job(
        session,
        project,
        base_model="small-encoder",
        method="classification",
        training_file_id=known.id,
        resolved_hyperparameters={"tuning": "full"},
    )
    name = "ft:small-encoder:acme::Abcd1234"
    make_model(session, job, name)
    body = {"model": name, "method": {"type": "classification"}}
    found = []
    for labels in (2, 3):
        rows = [{"text": f"text {number}", "label": str(number % labels)} for number in range(40)]
        found.append(estimate(http, **body, training_file=upload(openai, rows)))
    assert found[0]["problem"] is None
    values = {each["name"]: each["value"] for each in found[0]["training"]["hyperparameters"]}
    assert values["tuning"] == "full"
    problem = found[1]["problem"]
    assert (problem["code"], problem["param"]) == ("invalid_training_file", "training_file")
    assert 'It has the label "2", which the model to continue from' in problem["message"]
    several = [{"text": f"text {n}", "labels": [str(n % 2)]} for n in range(40)]
    problem = estimate(http, **body, training_file=upload(openai, several))["problem"]
    assert "another number of labels a text" in problem["message"]
