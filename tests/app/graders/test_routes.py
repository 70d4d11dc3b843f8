"""/v1/fine_tuning/alpha/graders, through the official SDK."""

import socket
from typing import Any

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.graders import (
    LabelModelGraderParam,
    MultiGraderParam,
    ScoreModelGraderParam,
    StringCheckGraderParam,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import TokenUsage, UsageKind
from app.graders.schemas import MAX_TEMPLATE_CHARS
from tests.live_api import Account, Api
from tests.live_server import FakeEngine
from tests.polling import wait_until

CHECK: StringCheckGraderParam = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}


def test_validate_and_run(openai: OpenAI) -> None:
    valid = openai.fine_tuning.alpha.graders.validate(grader=CHECK)
    assert valid.grader is not None
    assert valid.grader.model_dump() == CHECK
    result = openai.fine_tuning.alpha.graders.run(
        grader=CHECK, model_sample="Paris", item={"answer": "Paris"}
    )
    assert (result.reward, result.metadata.name) == (1, "exact")


def test_multi_grader_is_echoed_unchanged(openai: OpenAI) -> None:
    multi: MultiGraderParam = {
        "type": "multi",
        "name": "both",
        "graders": CHECK,
        "calculate_output": "exact",
    }
    valid = openai.fine_tuning.alpha.graders.validate(grader=multi)
    assert valid.grader is not None
    assert valid.grader.model_dump() == multi


def test_label_model_with_content_items(openai: OpenAI) -> None:
    label: LabelModelGraderParam = {
        "type": "label_model",
        "name": "tone",
        "model": "base",
        "input": [
            {"role": "user", "content": {"type": "input_text", "text": "Hello"}},
            {"role": "user", "content": [{"type": "output_text", "text": "{{sample.choices}}"}]},
        ],
        "labels": ["kind", "rude"],
        "passing_labels": ["kind"],
    }
    multi: MultiGraderParam = {
        "type": "multi",
        "name": "all",
        "graders": label,
        "calculate_output": "tone",
    }
    valid = openai.fine_tuning.alpha.graders.validate(grader=multi)
    assert valid.grader is not None
    assert valid.grader.model_dump(exclude_unset=True) == multi
    with pytest.raises(BadRequestError) as raised:
        openai.post(
            "/fine_tuning/alpha/graders/run",
            body={"grader": label, "model_sample": "Hi"},
            cast_to=object,
        )
    assert raised.value.param == "grader.type", (
        "valid only inside a multi grader, as in OpenAI's types"
    )


def test_a38_python_grader_is_rejected(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="does not run clients' programs"):
        openai.fine_tuning.alpha.graders.validate(
            grader={"type": "python", "name": "p", "source": "def grade(sample, item): ..."}
        )
    with pytest.raises(BadRequestError, match="does not run clients' programs"):
        openai.fine_tuning.alpha.graders.run(
            grader={"type": "python", "name": "p", "source": "def grade(sample, item): ..."},
            model_sample="Paris",
        )


def test_unknown_judge(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError) as raised:
        openai.fine_tuning.alpha.graders.run(
            grader={
                "type": "score_model",
                "name": "judge",
                "model": "nobody",
                "input": [{"role": "user", "content": "{{sample.output_text}}"}],
            },
            model_sample="Paris",
        )
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        ("exact +", "syntax error: invalid syntax"),
        ("exact + fuzzy", "there is no grader 'fuzzy'"),
        ("exact / 0 + fuzzy", "there is no grader 'fuzzy'"),
        ("min(exact)", "min does not take 1 arguments"),
        ("exact.real", "'exact.real' is not supported"),
        ("(" * 900, "syntax error: too many nested parentheses"),
        ("9" * 400, "int too large to convert to float"),
    ],
)
def test_invalid_formula(openai: OpenAI, formula: str, problem: str) -> None:
    multi: MultiGraderParam = {
        "type": "multi",
        "name": "both",
        "graders": CHECK,
        "calculate_output": formula,
    }
    with pytest.raises(BadRequestError) as raised:
        openai.fine_tuning.alpha.graders.validate(grader=multi)
    assert raised.value.param == "grader.calculate_output"
    assert (
        f"Invalid 'grader.calculate_output': {problem}. A formula may use + - * / ^, the"
        in raised.value.message
    )
    assert "and these graders: exact." in raised.value.message


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        ("200 no JSON", "an unreadable response"),
        ("200 []", "an unreadable response"),
        ('200 {"choices": [], "usage": {"total_tokens": 1}}', "an unreadable response"),
        ('200 {"choices": [{"message": {"content": [1]}}]}', "an unreadable response"),
        ("302 elsewhere", "an unreadable response"),
        ('400 {"error": {"code": 400}}', "an unreadable response"),
        ('400 {"error": {"message": "Too long.", "code": 400}}', "Too long."),
        ("500 oops", "engine failed"),
    ],
)
def test_judge_with_an_unusual_engine_response(
    openai: OpenAI, engine: FakeEngine, response: str, problem: str
) -> None:
    judge: ScoreModelGraderParam = {
        "type": "score_model",
        "name": "judge",
        "model": "base",
        "input": [{"role": "user", "content": f"answer {response}"}],
    }
    result = openai.fine_tuning.alpha.graders.run(grader=judge, model_sample="Paris")
    assert result.reward == 0
    assert problem in str(result.metadata.errors.api_model_grader_server_error_details)
    (body,) = engine.bodies
    assert body["max_completion_tokens"] == 512, "an unbounded judge fills its context"


def test_parameters_of_a_judge_reach_its_engine(openai: OpenAI, engine: FakeEngine) -> None:
    judge: Any = {
        "type": "score_model",
        "name": "judge",
        "model": "base",
        "input": [{"role": "user", "content": "Hi"}],
        "sampling_params": {"max_completion_tokens": 5, "reasoning_effort": "low"},
    }
    openai.fine_tuning.alpha.graders.run(grader=judge, model_sample="Paris")
    (body,) = engine.bodies
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (5, "low")
    judge["sampling_params"] = {"bogus": 1}
    for call in (
        lambda: openai.fine_tuning.alpha.graders.run(grader=judge, model_sample="Paris"),
        lambda: openai.fine_tuning.alpha.graders.validate(grader=judge),
    ):
        with pytest.raises(BadRequestError) as raised:
            call()
        assert raised.value.code == "unknown_parameter"


def test_tokens_of_judges_and_embeddings_are_counted(
    openai: OpenAI, api: Api, engine: FakeEngine, account: Account, session: Session
) -> None:
    """Also of a judge whose answer has no valid result, and not of a refused request."""
    judge: Any = {
        "type": "score_model",
        "name": "judge",
        "model": "owner/base",
        "input": [{"role": "user", "content": "Hi"}],
    }
    refused: Any = {**judge, "name": "refused"}
    refused["input"] = [{"role": "user", "content": 'answer 400 {"error": {"message": "No."}}'}]
    cosine: Any = {
        "type": "text_similarity",
        "name": "close",
        "input": "vector {{sample.output_text}}",
        "reference": "vector",
        "evaluation_metric": "cosine",
    }
    for grader in (judge, judge, refused, cosine):
        openai.fine_tuning.alpha.graders.run(grader=grader, model_sample="Paris")
    api.recorder.flush()
    rows = session.scalars(select(TokenUsage).order_by(TokenUsage.kind)).all()
    key = account.principal.key_id
    counted = [
        (row.kind, row.model, row.api_key_id, row.requests, row.input_tokens, row.output_tokens)
        for row in rows
    ]
    encoder = engine.bodies[-1]["model"]
    assert counted == [
        (UsageKind.COMPLETIONS, "base", key, 2, 2, 2),
        (UsageKind.EMBEDDINGS, encoder, key, 1, 5, 0),
    ]
    assert not any(row.is_batch for row in rows)


def test_a_judge_stops_when_the_client_of_the_run_disconnects(
    http: httpx.Client, engine: FakeEngine
) -> None:
    judge = {
        "type": "score_model",
        "name": "judge",
        "model": "base",
        "input": [{"role": "user", "content": "wait"}],
    }
    path = "/v1/fine_tuning/alpha/graders/run"
    request = http.build_request("POST", path, json={"grader": judge, "model_sample": "Paris"})
    with socket.create_connection((request.url.host, request.url.port)) as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        wait_until("the judge is asked", lambda: engine.bodies)
    assert engine.aborted.wait(60), "the judge was not aborted"


LONG = "x" * 100_000
SIMILARITY = {
    "type": "text_similarity",
    "name": "close",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}


@pytest.mark.parametrize(
    ("grader", "problem"),
    [
        ({**CHECK, "input": "{{item.answer}}" * 1000}, "rendered templates have more than"),
        (SIMILARITY, "a request compares at most"),
        (
            {
                "type": "score_model",
                "name": "judge",
                "model": "base",
                "input": [{"role": "user", "content": "{{item.answer}}" * 1000}],
            },
            "rendered templates have more than",
        ),
        ({**CHECK, "input": "x" * (MAX_TEMPLATE_CHARS + 1)}, "at most 131072 character"),
    ],
)
def test_a47_texts_that_are_too_long(
    openai: OpenAI, engine: FakeEngine, grader: Any, problem: str
) -> None:
    with pytest.raises(BadRequestError, match=problem):
        openai.fine_tuning.alpha.graders.run(
            grader=grader, model_sample="y" + LONG, item={"answer": LONG}
        )
    assert engine.bodies == []


def test_a47_texts_are_compared_in_another_process(openai: OpenAI, api: Api) -> None:
    assert (
        openai.fine_tuning.alpha.graders.run(
            grader=SIMILARITY, model_sample="Paris", item={"answer": "Paris"}
        ).reward
        == 1
    )
    assert api.state.cpu_pool.worker_pids
