"""Architecture rules: imports, transaction ownership, no work at import, no schema drift."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPENS_TRANSACTION = {"transaction", "one_off_transaction", "retry_until_available"}
ENDS_TRANSACTION = {"begin", "commit", "rollback"}
TRANSACTION_OWNERS = {
    "app.backup.create",
    "app.backup.restore",
    "app.batches.work",
    "app.evals.item_reader",
    "app.evals.work",
    "app.responses.work",
    "app.cli",
    "app.db.deletion_hold",
    "app.db.session",
    "app.http.dependencies",
    "app.local.doctor",
    "app.local.job_commands",
    "app.local.model_commands",
    "app.local.project_commands",
    "app.local.sweep_commands",
    "app.local.console_link",
    "app.local.database_setup",
    "app.monitoring.recorder",
    "app.operations.health",
    "app.operations.job_validation",
    "app.operations.leader_election",
    "app.operations.orphaned_objects",
    "app.operations.outbox_dispatch",
    "app.operations.periodic_task_runs",
    "app.operations.reconciler",
    "app.operations.retention",
    "app.operations.storage_identity",
    "app.stored_completions.recorder",
    "app.webhooks.sender",
    "app.work.runner",
}


def modules(package: str) -> list[str]:
    """List the dotted names of a package's modules, except `__main__`, which runs on import."""
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, check=False
    )


def test_import_contracts_hold() -> None:
    result = run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr


def owns_transactions(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    calls = [
        node.func
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    return any(
        (isinstance(call, ast.Name) and call.id in OPENS_TRANSACTION)
        or (
            isinstance(call, ast.Attribute)
            and call.attr in ENDS_TRANSACTION
            and ast.unparse(call.value).endswith("session")
        )
        for call in calls
    )


def test_only_transaction_owners_begin_and_commit() -> None:
    """All other modules work in their caller's transaction and never commit."""
    assert set(filter(owns_transactions, modules("app"))) == TRANSACTION_OWNERS


def test_app_imports_with_an_empty_environment_and_without_torch() -> None:
    """Importing connects to nothing and reads no environment; torch stays out of the API."""
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
def test_no_module_has_a_catch_all_name(word: str) -> None:
    assert [name for name in modules("app") + modules("worker") if word in name.split(".")] == []


def test_tables_and_migrations_do_not_drift(database_url: str) -> None:
    alembic = str(Path(sys.executable).with_name("alembic"))
    result = run(alembic, "check", DATABASE_URL=database_url)
    assert result.returncode == 0, result.stdout + result.stderr
