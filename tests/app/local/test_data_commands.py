"""`luthier data convert`: the file it writes, what it prints, and when it writes nothing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.local.data_commands import data_app

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
