"""Options that a job would not use, and methods that its model cannot go on by, at creation."""

from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy.orm import Session

from app.db.tables import Project
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account

ROWS = b"".join(b'{"text": "text %d", "label": "%d"}\n' % (n, n % 2) for n in range(12))
JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture
def files(openai: OpenAI) -> list[str]:
    """A training and a validation file."""
    return [
        openai.files.create(file=("rows.jsonl", rows), purpose="fine-tune").id
        for rows in (ROWS, ROWS[:50])
    ]


def asked(file: str, method: str, model: str = "small-encoder", **chosen: Any) -> dict[str, Any]:
    block = {"type": method, method: {"hyperparameters": chosen}}
    return {"model": model, "training_file": file, "method": block}


@pytest.mark.parametrize(
    ("method", "chosen", "words"),
    [
        ("classification", {"early_stopping_patience": 2}, "Give it a validation_file"),
        ("embedding", {"class_weights": "balanced"}, "'embedding' has no classes to weigh"),
        ("question_answering", {"class_weights": "balanced"}, "has no classes to weigh"),
        ("classification", {"max_length": 257}, "reads at most 256 tokens"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    http: httpx.Client, files: list[str], method: str, chosen: dict[str, Any], words: str
) -> None:
    (name,) = chosen
    error = expect_error(http.post(JOBS, json=asked(files[0], method, **chosen)), 400)
    assert error["param"] == f"method.{method}.hyperparameters.{name}"
    assert words in str(error["message"])
    older = {**asked(files[0], method), "hyperparameters": chosen}
    assert expect_error(http.post(JOBS, json=older), 400)["param"] == f"hyperparameters.{name}"


def test_options_that_count_are_taken(http: httpx.Client, files: list[str]) -> None:
    chosen = {"early_stopping_patience": 2, "class_weights": "balanced", "max_length": 256}
    body = {**asked(files[0], "token_classification", **chosen), "validation_file": files[1]}
    answer = http.post(JOBS, json=body)
    assert answer.status_code == 200, answer.text
    shown = answer.json()["hyperparameters"]
    assert chosen.items() <= shown.items()
    nothing = {"early_stopping_patience": "auto", "class_weights": "none"}
    assert http.post(JOBS, json=asked(files[0], "embedding", **nothing)).status_code == 200


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("classification", {"tuning": "half"}),
        ("embedding", {"max_length": 3}),
        ("classification", {"early_stopping_patience": 0}),
        ("dpo", {"beta": 5}),
    ],
)
def test_nonsense_in_the_older_place_is_refused_too(
    http: httpx.Client, files: list[str], method: str, chosen: dict[str, Any]
) -> None:
    (name,) = chosen
    body = {**asked(files[0], method), "hyperparameters": chosen}
    assert expect_error(http.post(JOBS, json=body), 400)["param"] == f"hyperparameters.{name}"


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_a_method_for_chats_is_refused_for_an_encoder(
    http: httpx.Client, files: list[str], method: str
) -> None:
    error = expect_error(http.post(JOBS, json=asked(files[0], method)), 400)
    assert error["param"] == "method.type"
    assert f"Method '{method}' is not available for model small-encoder" in str(error["message"])


class TestContinued:
    @pytest.fixture
    def tuned(self, session: Session, account: Account) -> str:
        """The name of a classifier that was tuned in full."""
        project = session.get_one(Project, account.principal.project_id)
        job = make_job(
            session,
            project,
            base_model="small-encoder",
            method="classification",
            resolved={"n_epochs": 3, "tuning": "full"},
        )
        name = "ft:small-encoder:acme::Abcd1234"
        make_model(session, job, name)
        return name

    def test_it_goes_on_by_its_own_method_only(
        self, http: httpx.Client, files: list[str], tuned: str
    ) -> None:
        error = expect_error(http.post(JOBS, json=asked(files[0], "embedding", model=tuned)), 400)
        assert error["param"] == "method.type"
        assert "was made by method 'classification'" in str(error["message"])

    def test_it_goes_on_as_it_was_tuned(
        self, http: httpx.Client, files: list[str], tuned: str
    ) -> None:
        body = asked(files[0], "classification", model=tuned, tuning="lora")
        error = expect_error(http.post(JOBS, json=body), 400)
        assert error["param"] == "method.classification.hyperparameters.tuning"
        assert "tuned as 'full'" in str(error["message"])
        same = asked(files[0], "classification", model=tuned, tuning="full")
        assert http.post(JOBS, json=same).status_code == 200

    def test_a_model_that_writes_goes_on_by_either_method(
        self, http: httpx.Client, files: list[str], session: Session, account: Account
    ) -> None:
        project = session.get_one(Project, account.principal.project_id)
        make_model(session, make_job(session, project, base_model="base"), "ft:base:acme::Abcd1234")
        body = asked(files[0], "dpo", model="ft:base:acme::Abcd1234")
        assert http.post(JOBS, json=body).status_code == 200
