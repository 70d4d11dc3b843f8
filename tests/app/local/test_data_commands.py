"""`luthier data`: what checks print, and the files that conversions write."""

import json
from pathlib import Path

import pytest
from openai import OpenAI
from typer.testing import CliRunner

from app.local.api_client import ApiFailed
from app.local.data_commands import data_app
from app.local.job_estimate import format_rate
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

ANSWER = {"role": "assistant", "content": "2"}
ALPACA = '{"instruction": "Add 1", "input": "", "output": "2", "idx": 7}\n'


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(data_app, ["convert", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "alpaca.jsonl"
    path.write_text(ALPACA * 2)
    return path


def test_writes_a_training_file_beside_the_source(source: Path) -> None:
    target = source.with_name("alpaca.converted.jsonl")
    assert run(source) == (
        0,
        f"{target}: 2 chat examples from alpaca.\nColumns left out: idx.\n",
        "",
    )
    assert target.read_text().count('"content":"Add 1"') == 2
    checked = CliRunner().invoke(data_app, ["check", str(target)])
    assert checked.stdout.startswith("Good: 2 examples (chat format).")


def test_replaces_only_by_force(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "train.jsonl"
    target.write_text("precious")
    code, _, errors = run(source, "--output", target)
    assert (code, target.read_text()) == (1, "precious")
    assert errors == f"{target} exists. Use --force to replace it, or --output.\n"
    assert run(source, "--output", target, "--force")[0] == 0
    assert target.read_text() != "precious"


def test_rows_with_errors_are_named_and_left_out_only_on_request(source: Path) -> None:
    source.write_text(ALPACA + '{"instruction": "a", "output": 1}\n' * 30 + ALPACA)
    code, output, errors = run(source)
    assert (code, output) == (1, "")
    assert errors.startswith("line 2: output is a number. Write a text.\n")
    assert len(errors.splitlines()) == 21
    assert errors.splitlines()[-1].startswith("30 rows cannot be converted, so nothing was written")
    assert [path.name for path in source.parent.iterdir()] == [source.name]
    code, output, _ = run(source, "--skip-errors")
    assert code == 0
    assert "2 chat examples from alpaca.\n30 rows were left out." in output


def test_a_file_that_is_none(tmp_path: Path) -> None:
    missing = tmp_path / "nothing.jsonl"
    assert run(missing) == (1, "", f"{missing}: No such file or directory\n")
    code, _, errors = run(tmp_path / "nothing.jsonl", "--rename", "text")
    assert code == 2
    assert "write OLD=NEW" in errors


def test_a_job_on_the_file_is_estimated_by_the_service(
    tmp_path: Path, api: Api, account: Account, engine: FakeEngine, openai: OpenAI
) -> None:
    file, key = tmp_path / "train.jsonl", tmp_path / "key"
    rows = [{"messages": [{"role": "user", "content": str(n)}, ANSWER]} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    key.write_text(account.secret)
    options = ["--model", "base", "--url", api.url, "--key-file", str(key)]
    result = CliRunner().invoke(data_app, ["check", str(file), *options])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "Good: 40 examples (chat format)."
    assert lines[2] == "  40 rows, 280 tokens an epoch, 840 in all, 42 steps"
    assert "by the speed of this machine" in lines[3]
    assert lines[4].startswith("  n_epochs 3, batch_size 3, learning_rate 0.00132")
    options += ["--hyperparameter", "n_epochs=2", "--hyperparameter", "long_rows=drop"]
    result = CliRunner().invoke(data_app, ["check", str(file), *options])
    assert result.output.splitlines()[2] == "  40 rows, 280 tokens an epoch, 560 in all, 40 steps"
    assert engine.bodies[-1]["long_rows"] == "drop"
    for wrong in ("lora_rank=NaN", "lora_alpha=1e999", "target_modules=[-Infinity]"):
        result = CliRunner().invoke(
            data_app, ["check", str(file), *options, "--hyperparameter", wrong]
        )
        assert isinstance(result.exception, ApiFailed), wrong
        assert f"'method.supervised.hyperparameters.{wrong.partition('=')[0]}" in str(
            result.exception
        )
    options += ["--hyperparameter", "lora_rnk=2"]
    result = CliRunner().invoke(data_app, ["check", str(file), *options])
    assert result.exit_code == 1
    assert "Did you mean 'lora_rank'?" in str(result.exception)
    # The file stays with its owner.
    assert list(openai.files.list()) == []


def test_a_job_on_an_encoder_is_estimated_by_the_service(
    tmp_path: Path, api: Api, account: Account, engine: FakeEngine
) -> None:
    file, key = tmp_path / "train.jsonl", tmp_path / "key"
    rows = [{"text": f"text {n}", "label": str(n % 2)} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    key.write_text(account.secret)
    options = ["--model", "small-encoder", "--method", "classification"]
    options += ["--url", api.url, "--key-file", str(key)]
    result = CliRunner().invoke(data_app, ["check", str(file), *options])
    assert result.exit_code == 0, result.output
    assert ", max_length 8,192\n" in result.output


@pytest.mark.parametrize(
    ("rate", "shown"), [(0.0423, "0.042"), (3.66, "3.7"), (9.96, "10"), (1234.5, "1,234")]
)
def test_slow_rates_have_digits(rate: float, shown: str) -> None:
    assert format_rate(rate) == shown


def test_the_rate_of_a_slow_machine_is_not_0(
    tmp_path: Path, api: Api, account: Account, engine: FakeEngine
) -> None:
    engine.facts = {**engine.facts, "gigaflops": 0.1}
    file, key = tmp_path / "train.jsonl", tmp_path / "key"
    rows = [{"messages": [{"role": "user", "content": str(n)}, ANSWER]} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    key.write_text(account.secret)
    options = ["--model", "base", "--url", api.url, "--key-file", str(key)]
    result = CliRunner().invoke(data_app, ["check", str(file), *options])
    assert " at 0." in result.output.splitlines()[3]


@pytest.mark.parametrize("option", ["--method=dpo", "--hyperparameter=n_epochs=2"])
def test_options_of_a_job_need_its_model(tmp_path: Path, option: str) -> None:
    file = tmp_path / "train.jsonl"
    rows = [{"messages": [{"role": "user", "content": str(n)}, ANSWER]} for n in range(12)]
    file.write_text("\n".join(map(json.dumps, rows)))
    result = CliRunner().invoke(data_app, ["check", str(file), option])
    assert result.exit_code == 2
    assert "name its --model" in result.output


def test_a_file_with_errors_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("not json\n")
    result = CliRunner().invoke(data_app, ["check", str(file), "--model", "base"])
    assert result.exit_code == 1
    assert "1 of 1 example cannot be used." in result.output
