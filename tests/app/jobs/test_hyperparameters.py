"""Hyperparameters beyond OpenAI's: bounds, names, and how unknown ones are answered."""

from typing import Any

import httpx
import pytest
from openai import OpenAI
from pydantic import ValidationError

from app.jobs.schemas import CreateJob
from app.jobs.unknown_fields import check_unknown_fields
from tests.app.http.test_admission import expect_error

JOB = {"model": "m", "training_file": "file-x"}
JOBS = "/v1/fine_tuning/jobs"
WANDB: dict[str, Any] = {
    "type": "wandb",
    "wandb": {"project": "p", "name": None, "entity": None, "tags": []},
}
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
ALL = {
    "lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.05,
    "target_modules": ["v_proj", "q_proj"], "weight_decay": 0.01, "warmup_ratio": 0.1,
    "lr_schedule": "linear", "max_grad_norm": 0.5, "max_seq_length": 2048, "long_rows": "drop",
    "label_smoothing": 0.1, "neftune_alpha": 5.0, "keep": "last", "full": False,
    "gradient_checkpointing": True, "quantization": "nf4",
}  # fmt: skip


@pytest.fixture
def training_file(openai: OpenAI) -> str:
    return openai.files.create(file=("train.jsonl", LINE * 12), purpose="fine-tune").id


def build_body(file: str, method: str = "supervised", **chosen: Any) -> dict[str, Any]:
    block = {"type": method, method: {"hyperparameters": chosen}}
    return {"model": "base", "training_file": file, "method": block}


def test_reads_the_methods_own_block() -> None:
    block = {"hyperparameters": {"tuning": "full", "n_epochs": 4}}
    request = CreateJob.model_validate(
        {**JOB, "method": {"type": "classification", "classification": block}}
    )
    chosen = request.merge_hyperparameters()
    assert (chosen["tuning"], chosen["n_epochs"]) == ("full", 4)
    assert chosen["early_stopping_patience"] == "auto"


def test_chat_methods_have_no_encoder_hyperparameters() -> None:
    assert "tuning" not in CreateJob.model_validate(JOB).merge_hyperparameters()


def test_rejects_invalid_values() -> None:
    block = {"hyperparameters": {"tuning": "half"}}
    with pytest.raises(ValidationError, match="tuning"):
        CreateJob.model_validate(
            {**JOB, "method": {"type": "classification", "classification": block}}
        )


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_a_job_shows_the_extensions_that_it_was_created_with(
    openai: OpenAI, http: httpx.Client, training_file: str, method: str
) -> None:
    chosen = ALL | ({"packing": True} if method == "supervised" else {"beta": 0.3})
    created = http.post(JOBS, json=build_body(training_file, method, **chosen))
    assert created.status_code == 200, created.text
    shown = http.get(f"{JOBS}/{created.json()['id']}").json()["hyperparameters"]
    assert shown["target_modules"] == ["q_proj", "v_proj"]
    assert {**chosen, "target_modules": ["q_proj", "v_proj"]}.items() <= shown.items()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("lora_rank", 0, "from 1 to 256"),
        ("lora_rank", 257, "from 1 to 256"),
        ("lora_rank", 8.5, "whole number"),
        ("lora_alpha", 0, "above 0"),
        ("lora_dropout", 0.95, "from 0 to 0.9"),
        ("lora_dropout", -0.1, "from 0 to 0.9"),
        ("target_modules", [], "names of linear layers"),
        ("target_modules", "q_proj", "names of linear layers"),
        ("target_modules", ["q_proj", ".*"], "names of linear layers"),
        ("target_modules", ["q"] * 65, "names of linear layers"),
        ("weight_decay", 1.5, "from 0 to 1"),
        ("warmup_ratio", 2, "from 0 to 1"),
        ("warmup_ratio", True, "from 0 to 1"),
        ("lr_schedule", "step", "'cosine', 'linear', 'constant'"),
        ("max_grad_norm", 0, "above 0"),
        ("max_seq_length", 8, "from 16"),
        ("long_rows", "keep", "'truncate', 'drop', 'error'"),
        ("label_smoothing", 0.5, "from 0 to 0.4"),
        ("neftune_alpha", -1, "from 0 to 100"),
        ("quantization", "int4", "'none', 'nf4'"),
        ("packing", 1, "true or false"),
        ("early_stopping_patience", 0, "from 1 to 50"),
        ("keep", "first", "'best', 'last'"),
    ],
)
def test_bounds_are_checked(
    http: httpx.Client, training_file: str, name: str, value: object, rule: str
) -> None:
    error = expect_error(http.post(JOBS, json=build_body(training_file, **{name: value})), 400)
    assert error["param"] == f"method.supervised.hyperparameters.{name}"
    assert rule in str(error["message"])
    older = {"model": "base", "training_file": training_file, "hyperparameters": {name: value}}
    assert expect_error(http.post(JOBS, json=older), 400)["param"] == f"hyperparameters.{name}"


@pytest.mark.parametrize(
    ("method", "name", "words"),
    [
        ("supervised", "lora_ranks", "Did you mean 'lora_rank'?"),
        ("supervised", "loraRank", "Did you mean 'lora_rank'?"),
        ("supervised", "num_epochs", "Did you mean 'n_epochs'?"),
        ("supervised", "max_length", "Did you mean 'max_seq_length'?"),
        ("supervised", "learning_rate", "'learning_rate_multiplier' scales it"),
        (
            "supervised",
            "class_weights",
            "It belongs to methods classification, token_classification, question_answering and "
            "embedding.",
        ),
        ("supervised", "zzz", "The method has n_epochs, batch_size"),
        ("dpo", "packing", "It belongs to method supervised."),
        ("dpo", "betta", "Did you mean 'beta'?"),
        ("supervised", "q" * 5000, "The method has"),
    ],
)
def test_an_unknown_hyperparameter_is_refused_with_the_nearest_known_one(
    http: httpx.Client, training_file: str, method: str, name: str, words: str
) -> None:
    error = expect_error(http.post(JOBS, json=build_body(training_file, method, **{name: 1})), 400)
    assert error["code"] == "unknown_parameter"
    assert str(error["param"]).startswith(f"method.{method}.hyperparameters.{name[:20]}")
    assert words in str(error["message"])
    assert len(str(error["message"])) < 1000


def test_openais_names_of_other_methods_are_reported_as_ignored(
    openai: OpenAI, http: httpx.Client, training_file: str
) -> None:
    names = {"beta": 0.1, "reasoning_effort": "low", "compute_multiplier": 2, "eval_interval": 5}
    job = http.post(JOBS, json=build_body(training_file, **names)).json()
    event = openai.fine_tuning.jobs.list_events(job["id"]).data[0]
    assert event.level == "warn"
    assert all(name in event.message for name in names)


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"n_epochs": 3}, "n_epochs", "write it into method.supervised.hyperparameters"),
        ({"lora_rank": 3}, "lora_rank", "write it into method.supervised.hyperparameters"),
        ({"validation_fle": "file-x"}, "validation_fle", "Did you mean 'validation_file'?"),
        ({"validationFile": "file-x"}, "validationFile", "Did you mean 'validation_file'?"),
        ({"hyper_parameters": {}}, "hyper_parameters", "Did you mean 'hyperparameters'?"),
        (
            {"integrations": [WANDB, {"type": "wandb", "wandb": {"project": "p", "tag": ["a"]}}]},
            "integrations[1].wandb.tag",
            "Did you mean 'tags'?",
        ),
        (
            {"method": {"type": "supervised", "supervised": {"n_epochs": 3}}},
            "method.supervised.n_epochs",
            "write it into",
        ),
        (
            {"method": {"type": "supervised", "hyperparameters": {"n_epochs": 3}}},
            "method.hyperparameters",
            "Write it into method.supervised",
        ),
    ],
)
def test_a_misplaced_field_that_would_change_the_job_is_refused(
    http: httpx.Client, training_file: str, change: dict[str, Any], param: str, words: str
) -> None:
    body = {"model": "base", "training_file": training_file, **change}
    error = expect_error(http.post(JOBS, json=body), 400)
    assert (error["param"], error["code"]) == (param, "unknown_parameter")
    assert words in str(error["message"])


HYPERPARAMETERS = {"hyperparameters": {"n_epochs": 3}}


@pytest.mark.parametrize(
    ("method", "param"),
    [
        ({"type": "dpo", "supervised": HYPERPARAMETERS}, "method.supervised"),
        ({"type": "dpo", "dpo": None, "supervised": HYPERPARAMETERS}, "method.supervised"),
        ({"type": "supervised", "embedding": HYPERPARAMETERS}, "method.embedding"),
        ({"type": "supervised", "supervised": {}, "dpo": HYPERPARAMETERS}, None),
        ({"type": "supervised", "dpo": None, "reinforcement": None}, None),
        ({"type": "supervised", "reinforcement": {"grader": {"type": "multi"}}}, None),
        ({"type": "supervised", "dpo": {}, "embedding": {"hyperparameters": None}}, None),
        ({"type": "supervised", "dpo": {"hyperparameters": {"n_epochs": "auto"}}}, None),
        ({"type": "reinforcement", "supervised": HYPERPARAMETERS}, "method.type"),
    ],
)
def test_the_block_of_another_method_alone_is_refused(
    http: httpx.Client, training_file: str, method: dict[str, Any], param: str | None
) -> None:
    body = {"model": "base", "training_file": training_file, "method": method}
    for path in (JOBS, f"{JOBS}/estimate"):
        response = http.post(path, json=body)
        if param is None:
            assert response.status_code in (200, 503), response.text
        else:
            error = expect_error(response, 400)
            assert (error["param"], error["code"]) == (param, "invalid_value")


def test_unknown_fields_of_integrations_are_reported_and_not_kept() -> None:
    run = {"project": "p", "group": "g"}
    request = CreateJob.model_validate(
        {**JOB, "integrations": [{"type": "wandb", "wandb": run, "beta": True}]}
    )
    ignored = check_unknown_fields(request)
    assert ignored.others == ("integrations[0].beta", "integrations[0].wandb.group")
    assert request.integrations is not None
    (stored,) = [each.to_stored() for each in request.integrations]
    assert stored == {"type": "wandb", "wandb": {**WANDB["wandb"], "project": "p"}}


def test_other_unknown_fields_are_reported_in_an_event(
    openai: OpenAI, http: httpx.Client, training_file: str
) -> None:
    method = {"type": "supervised", "reinforcement": {"grader": {"type": "string_check"}}}
    body = {"model": "base", "training_file": training_file, "method": method}
    body |= {"lunch": True, "x": {"y": 1}}
    job = http.post(JOBS, json=body)
    assert job.status_code == 200, job.text
    event = openai.fine_tuning.jobs.list_events(job.json()["id"]).data[0]
    assert (event.level, event.message) == (
        "warn",
        "Ignored unknown fields of the request: lunch, x",
    )
