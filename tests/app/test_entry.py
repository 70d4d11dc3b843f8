"""The `luthier` command's entry point: `up` starts before the modules of all commands are there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False
    )


def test_up_begins_without_database_libraries() -> None:
    """The engine takes longest to load, and would start a second later."""
    names = "alembic", "boto3", "celery", "fastapi", "nltk", "sqlalchemy"
    code = f"import sys, app.local.up; print([n for n in {names} if n in sys.modules])"
    assert run("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("options", [(), ("--demo",)])
def test_errors_of_up_are_sentences(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    home = str(tmp_path / "file" / "home")
    failed = run("-m", "app.entry", "up", *options, LUTHIER_HOME=home)
    assert failed.returncode == 1
    assert f"LUTHIER_HOME ({home}) cannot be written to" in failed.stderr


def test_other_arguments_are_those_of_the_commands() -> None:
    unknown = run("-m", "app.entry", "up", "--no-such-option")
    assert unknown.returncode == 2
    assert "No such option" in unknown.stderr
    assert "Start all processes" in run("-m", "app.entry", "--help").stdout
