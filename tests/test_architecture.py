"""The house rules that matter, as checks: the import rule, no work at import, no second schema."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def modules(package: str) -> list[str]:
    """Dotted names of all modules of a package, `__main__` (which runs when imported) left out."""
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, check=False
    )


def test_the_import_rule_holds() -> None:
    result = run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr


def test_app_imports_with_an_empty_environment_and_without_torch() -> None:
    """Nothing connects, reads the environment or starts at import; torch stays out of the API."""
    program = (
        "import importlib, sys\n"
        f"for name in {modules('app')!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "core"])
def test_no_module_is_a_drawer(word: str) -> None:
    assert [name for name in modules("app") + modules("worker") if word in name.split(".")] == []


def test_models_and_migrations_do_not_drift(database_url: str) -> None:
    alembic = str(Path(sys.executable).with_name("alembic"))
    result = run(alembic, "check", DATABASE_URL=database_url)
    assert result.returncode == 0, result.stdout + result.stderr
