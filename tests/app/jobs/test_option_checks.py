"""Option checks at creation: options without effect, and methods incompatible with the model."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import Job, Project
from app.engine_options import EngineKind, EngineOptions
from app.jobs.chat_option_checks import find_impossible_chat_options
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.conftest import ROOT
from tests.factories import make_job
from tests.live_api import Account, Api, serve_with

ROWS = b"".join(b'{"text": "text %d", "label": "%d"}\n' % (n, n % 2) for n in range(12))
JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture
def files(openai: OpenAI) -> list[str]:
    """A training and a validation file."""
    return [
        openai.files.create(file=("rows.jsonl", rows), purpose="fine-tune").id
        for rows in (ROWS, ROWS[:50])
    ]


def build_job_body(
    file: str, method: str, model: str = "small-encoder", **chosen: Any
) -> dict[str, Any]:
    block = {"type": method, method: {"hyperparameters": chosen}}
    return {"model": model, "training_file": file, "method": block}


@pytest.mark.parametrize(
    ("method", "chosen", "words"),
    [
        ("classification", {"early_stopping_patience": 2}, "Add a validation_file"),
        ("embedding", {"class_weights": "balanced"}, "'embedding' has no classes to weight"),
        ("question_answering", {"class_weights": "balanced"}, "has no classes to weight"),
        ("classification", {"max_length": 257}, "reads at most 256 tokens"),
        # Longer than any model of the catalog.
        ("classification", {"max_length": 100_000}, "reads at most 256 tokens"),
        ("classification", {"max_seq_length": 257}, "reads at most 256 tokens"),
        ("classification", {"keep": "best"}, "Add a validation_file"),
        ("embedding", {"label_smoothing": 0.1}, "no classes over which probability"),
        ("question_answering", {"label_smoothing": 0.1}, "no classes over which probability"),
        ("token_classification", {"lora_rank": 8}, "choose tuning 'lora'"),
        ("token_classification", {"lora_alpha": 8}, "choose tuning 'lora'"),
        ("question_answering", {"lora_dropout": 0.1}, "choose tuning 'lora'"),
        ("question_answering", {"target_modules": ["query"]}, "choose tuning 'lora'"),
    ],
)
def test_rejects_an_option_without_effect(
    http: httpx.Client, files: list[str], method: str, chosen: dict[str, Any], words: str
) -> None:
    (name,) = chosen
    error = expect_error(http.post(JOBS, json=build_job_body(files[0], method, **chosen)), 400)
    assert error["param"] == f"method.{method}.hyperparameters.{name}"
    assert words in str(error["message"])
    older = {**build_job_body(files[0], method), "hyperparameters": chosen}
    assert expect_error(http.post(JOBS, json=older), 400)["param"] == f"hyperparameters.{name}"


def test_accepts_options_with_effect(http: httpx.Client, files: list[str]) -> None:
    chosen = {"early_stopping_patience": 2, "class_weights": "balanced", "max_length": 256}
    body = {
        **build_job_body(files[0], "token_classification", **chosen),
        "validation_file": files[1],
    }
    answer = http.post(JOBS, json=body)
    assert answer.status_code == 200, answer.text
    returned = answer.json()["hyperparameters"]
    assert chosen.items() <= returned.items()
    nothing = {"early_stopping_patience": "auto", "class_weights": "none"}
    assert http.post(JOBS, json=build_job_body(files[0], "embedding", **nothing)).status_code == 200


@pytest.mark.parametrize(
    ("chosen", "name", "words"),
    [
        ({"full": True, "tuning": "lora"}, "full", "two names of one option"),
        ({"full": False, "tuning": "full"}, "full", "two names of one option"),
        ({"max_seq_length": 64, "max_length": 32}, "max_seq_length", "max_length is 32"),
        ({"full": True, "lora_rank": 4}, "lora_rank", "no adapter that lora_rank could shape"),
    ],
)
def test_rejects_options_that_contradict_each_other(
    http: httpx.Client, files: list[str], chosen: dict[str, Any], name: str, words: str
) -> None:
    body = build_job_body(files[0], "classification", **chosen)
    error = expect_error(http.post(JOBS, json=body), 400)
    assert error["param"] == f"method.classification.hyperparameters.{name}"
    assert words in str(error["message"])


def test_names_of_all_methods_are_those_of_encoders_too(
    http: httpx.Client, files: list[str]
) -> None:
    chosen = {
        "full": False, "lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.05,
        "target_modules": ["query"], "weight_decay": 0.01, "warmup_ratio": 0.1,
        "lr_schedule": "linear", "max_grad_norm": 0.5, "max_seq_length": 64, "long_rows": "drop",
        "label_smoothing": 0.1, "early_stopping_patience": 2, "keep": "last",
    }  # fmt: skip
    body = build_job_body(files[0], "token_classification", **chosen)
    answer = http.post(JOBS, json={**body, "validation_file": files[1]})
    assert answer.status_code == 200, answer.text
    shown = answer.json()["hyperparameters"]
    own = {"tuning": "lora", "max_length": 64}
    assert {**chosen, **own}.items() <= shown.items()
    plain = http.post(JOBS, json=build_job_body(files[0], "classification")).json()
    assert plain["hyperparameters"].keys().isdisjoint({*chosen} - {"early_stopping_patience"})


@pytest.mark.parametrize(
    ("name", "owners"),
    [
        ("packing", "method supervised"),
        ("neftune_alpha", "methods supervised and dpo"),
        ("gradient_checkpointing", "methods supervised and dpo"),
        ("quantization", "methods supervised and dpo"),
    ],
)
def test_options_of_chat_models_alone_are_refused_for_encoders(
    http: httpx.Client, files: list[str], name: str, owners: str
) -> None:
    body = build_job_body(files[0], "classification", **{name: 1})
    error = expect_error(http.post(JOBS, json=body), 400)
    assert error["code"] == "unknown_parameter"
    assert f"It belongs to {owners}." in str(error["message"])


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("classification", {"tuning": "half"}),
        ("classification", {"lora_rank": 257}),
        ("embedding", {"max_seq_length": 8}),
        ("classification", {"label_smoothing": 0.5}),
        ("embedding", {"max_length": 3}),
        ("classification", {"early_stopping_patience": 0}),
        ("dpo", {"beta": 5}),
    ],
)
def test_validates_top_level_hyperparameters_too(
    http: httpx.Client, files: list[str], method: str, chosen: dict[str, Any]
) -> None:
    (name,) = chosen
    body = {**build_job_body(files[0], method), "hyperparameters": chosen}
    assert expect_error(http.post(JOBS, json=body), 400)["param"] == f"hyperparameters.{name}"


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_rejects_a_chat_method_for_an_encoder(
    http: httpx.Client, files: list[str], method: str
) -> None:
    error = expect_error(http.post(JOBS, json=build_job_body(files[0], method)), 400)
    assert error["param"] == "method.type"
    assert f"Method '{method}' is not available for model small-encoder" in str(error["message"])


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_full_tuning_of_chat_models_is_refused_with_what_to_do(
    http: httpx.Client, files: list[str], method: str
) -> None:
    body = build_job_body(files[0], method, model="base", full=True)
    error = expect_error(http.post(JOBS, json=body), 400)
    assert (error["code"], error["param"]) == (
        "invalid_value",
        f"method.{method}.hyperparameters.full",
    )
    assert "use lora_rank 64" in str(error["message"])
    accepted = http.post(JOBS, json=build_job_body(files[0], method, model="base", full=False))
    assert accepted.status_code == 200, accepted.text


@pytest.fixture
def sharding_api(api: Api, account: Account) -> Iterator[httpx.Client]:
    """A client of an API whose trainers divide base models among processes."""
    with serve_with(api, account, training_processes=2, training_sharded=True) as client:
        yield client


@pytest.mark.parametrize("method", ["supervised", "dpo"])
@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/estimate"])
def test_weights_in_4_bits_are_refused_where_base_models_are_divided(
    sharding_api: httpx.Client, http: httpx.Client, files: list[str], method: str, path: str
) -> None:
    body = build_job_body(files[0], method, model="base", quantization="nf4")
    error = expect_error(sharding_api.post(path, json=body), 400)
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "invalid_value",
        f"method.{method}.hyperparameters.quantization",
    )
    assert "weights in 4 bits cannot be divided. Omit quantization." in str(error["message"])
    whole = build_job_body(files[0], method, model="base", quantization="none")
    for client, accepted in ((sharding_api, whole), (http, body)):
        assert client.post(JOBS, json=accepted).status_code == 200


@pytest.mark.parametrize(
    ("rank", "limit", "is_refused"),
    [(32, 32, False), (33, 32, True), ("auto", 16, False), ("auto", 8, True), (65, None, True)],
)
def test_adapters_that_the_models_engine_does_not_serve_are_refused(
    rank: int | str, limit: int | None, is_refused: bool
) -> None:
    base = Catalog.load(ROOT / "tests/models.toml").get("base")
    assert base is not None
    # Without a limit of its own, an engine that Luthier starts has 64.
    served = replace(
        base, engine=EngineKind.VLLM, engine_options=EngineOptions(max_lora_rank=limit)
    )
    for model, names in ((base, []), (served, ["lora_rank"] if is_refused else [])):
        found = find_impossible_chat_options(
            {"lora_rank": rank}, model, None, "supervised", is_base_sharded=False
        )
        assert [name for name, _ in found] == names


@pytest.mark.parametrize(
    ("rank", "inherited", "limit", "advice"),
    [
        ("auto", 8, 8, None),
        ("auto", 64, 32, "The model to continue from has rank 64: start from the base model"),
        (64, 64, 32, "The model to continue from has rank 64: start from the base model"),
        (48, 16, 32, "Use a lora_rank of at most 32"),
        # Jobs of earlier versions.
        ("auto", None, 8, "Use a lora_rank of at most 8"),
        ("auto", None, 16, None),
    ],
)
def test_auto_is_the_rank_of_the_model_to_continue_from(
    rank: int | str, inherited: int | None, limit: int, advice: str | None
) -> None:
    base = Catalog.load(ROOT / "tests/models.toml").get("base")
    assert base is not None
    served = replace(
        base, engine=EngineKind.VLLM, engine_options=EngineOptions(max_lora_rank=limit)
    )
    source = Job(resolved_hyperparameters=None if inherited is None else {"lora_rank": inherited})
    found = find_impossible_chat_options(
        {"lora_rank": rank}, served, source, "supervised", is_base_sharded=False
    )
    reasons = dict(found)
    assert list(reasons) == ([] if advice is None else ["lora_rank"])
    assert (advice or "") in reasons.get("lora_rank", "")


class TestContinueTraining:
    @pytest.fixture
    def tuned(self, session: Session, account: Account) -> str:
        """Name of a classifier that was trained with tuning "full"."""
        project = session.get_one(Project, account.principal.project_id)
        job = make_job(
            session,
            project,
            base_model="small-encoder",
            method="classification",
            resolved_hyperparameters={"n_epochs": 3, "tuning": "full"},
        )
        name = "ft:small-encoder:acme::Abcd1234"
        make_model(session, job, name)
        return name

    def test_rejects_another_method(self, http: httpx.Client, files: list[str], tuned: str) -> None:
        error = expect_error(
            http.post(JOBS, json=build_job_body(files[0], "embedding", model=tuned)), 400
        )
        assert error["param"] == "method.type"
        assert "was made by method 'classification'" in str(error["message"])

    def test_rejects_another_tuning(self, http: httpx.Client, files: list[str], tuned: str) -> None:
        body = build_job_body(files[0], "classification", model=tuned, tuning="lora")
        error = expect_error(http.post(JOBS, json=body), 400)
        assert error["param"] == "method.classification.hyperparameters.tuning"
        assert "whose tuning is 'full'" in str(error["message"])
        same = build_job_body(files[0], "classification", model=tuned, tuning="full")
        assert http.post(JOBS, json=same).status_code == 200
        synonym = build_job_body(files[0], "classification", model=tuned, full=False)
        error = expect_error(http.post(JOBS, json=synonym), 400)
        assert error["param"] == "method.classification.hyperparameters.full"
        shaped = build_job_body(files[0], "classification", model=tuned, lora_rank=4)
        error = expect_error(http.post(JOBS, json=shaped), 400)
        assert "no adapter that lora_rank could shape" in str(error["message"])

    def test_rejects_a_rank_that_the_engine_does_not_serve(
        self, api: Api, files: list[str], session: Session, account: Account, tmp_path: Path
    ) -> None:
        project = session.get_one(Project, account.principal.project_id)
        resolved = {"lora_rank": 64}
        job = make_job(session, project, base_model="base", resolved_hyperparameters=resolved)
        make_model(session, job, "ft:base:acme::Abcd1234")
        catalog = (ROOT / "tests/models.toml").read_text()
        served = '"base"\nengine = "vllm"\nengine_options = { max_lora_rank = 32 }\n'
        path = tmp_path / "models.toml"
        path.write_text(catalog.replace('"base"\n', served, 1))
        body = build_job_body(files[0], "supervised", model="ft:base:acme::Abcd1234")
        with serve_with(api, account, models_file=path) as client:
            error = expect_error(client.post(JOBS, json=body), 400)
            assert error["param"] == "hyperparameters.lora_rank"
            assert "start from the base model" in str(error["message"])
            assert client.post(JOBS, json={**body, "model": "base"}).status_code == 200

    def test_accepts_either_generative_method(
        self, http: httpx.Client, files: list[str], session: Session, account: Account
    ) -> None:
        project = session.get_one(Project, account.principal.project_id)
        make_model(session, make_job(session, project, base_model="base"), "ft:base:acme::Abcd1234")
        body = build_job_body(files[0], "dpo", model="ft:base:acme::Abcd1234")
        assert http.post(JOBS, json=body).status_code == 200
