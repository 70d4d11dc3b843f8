"""Takes one safeguard out at a time, in a copy, and shows that a test notices each.

`python tests/faults/mutants.py` ends with `mutants noticed: N/N`, and with code 1 if one was not.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("app", "worker", "migrations", "tests", "pyproject.toml", "models.toml")
MACHINE = "tests/app/jobs/test_lifecycle_machine.py"
FENCED = "tests/app/jobs/test_attempts.py::test_no_effect_of_a_fenced_attempt_leaves_a_trace"
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in a file, and then `test` must fail."""

    name: str
    path: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "a trainer that lives is taken for a dead one",
        "worker/supervisor/liveness_lock.py",
        "path.name != self.name and _is_unlocked(path)",
        "path.name != self.name",
        "tests/worker/supervisor/test_liveness_lock.py",
    ),
    Mutant(
        "two reconcilers lead at a time",
        "app/operations/reconciler.py",
        "        if not session.scalar(select(func.pg_try_advisory_lock(LEADER_LOCK))):\n",
        "        if False:\n",
        "tests/app/operations/test_reconciler.py",
    ),
    Mutant(
        "a worker's effects are not checked for its epoch",
        "app/jobs/states.py",
        ".where(Job.id == job_id, Job.epoch == epoch, Job.state.in_(ACTIVE))",
        ".where(Job.id == job_id, Job.state.in_(ACTIVE))",
        FENCED,
    ),
    Mutant(
        "a worker's moves are not checked for its epoch",
        "app/jobs/states.py",
        "statement.where(Job.epoch == held_at, Job.state.in_(ACTIVE))",
        "statement.where(Job.state.in_(ACTIVE))",
        FENCED,
    ),
    Mutant(
        "a cancelled job's worker is not fenced",
        "app/jobs/lifecycle.py",
        "        epoch=Job.epoch + 1,\n",
        "",
        MACHINE,
    ),
    Mutant(
        "a bell is not in the outbox",
        "app/db/outbox.py",
        '    session.add(Outbox(kind="bell", payload={"task": task, "job_id": job_id}))\n',
        "",
        MACHINE,
    ),
    Mutant(
        "leases are ended whether they are over or not",
        "app/jobs/attempts.py",
        "    return JobLease.lease_until < func.clock_timestamp()\n",
        "    return JobLease.lease_until < func.clock_timestamp() + func.make_interval(1)\n",
        "tests/app/jobs/test_attempts.py",
    ),
    Mutant(
        "an ended job's lease is left",
        "app/jobs/states.py",
        "    session.execute(delete(JobLease).where(JobLease.job_id == job_id))\n",
        "",
        MACHINE,
    ),
    Mutant(
        "ended jobs may be moved in Postgres",
        "migrations/versions/2026_11_22_terminal_states_absorb.py",
        "    op.execute(TRIGGER)\n",
        "",
        "tests/app/jobs/test_states.py",
    ),
    Mutant(
        "a succeeded job may be cancelled",
        "app/jobs/states.py",
        '    "succeeded": frozenset(),\n',
        '    "succeeded": frozenset({"cancelled"}),\n',
        "tests/app/jobs/test_lifecycle.py",
    ),
    Mutant(
        "an answer is not kept for the client that asks again",
        "app/http/idempotency.py",
        "    repeats.remember(pending.session, pending.this, answer)\n",
        "",
        "tests/app/http/test_idempotency.py",
    ),
    Mutant(
        "an orphan is removed by the first sweep that sees it",
        "app/operations/orphaned_objects.py",
        "stray = found & self._suspects",
        "stray = found",
        "tests/app/operations/test_orphaned_objects.py",
    ),
)


def is_noticed(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            _copy(ROOT / name, copy / name)
        path = copy / mutant.path
        source = path.read_text()
        if source.count(mutant.old) != 1:
            sys.exit(f"{mutant.name}: {mutant.path} has changed; write this mutant anew")
        path.write_text(source.replace(mutant.old, mutant.new))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            mutant.test,
            "-p",
            "no:cacheprovider",
        ]
        result = subprocess.run(
            command, cwd=copy, capture_output=True, timeout=LIMIT_SECONDS, check=False
        )
    # 1: tests have failed. Any other code says that they did not run.
    if result.returncode not in (0, 1):
        sys.exit(result.stdout.decode())
    return result.returncode == 1


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def main() -> int:
    noticed = 0
    for mutant in MUTANTS:
        found = is_noticed(mutant)
        noticed += found
        sys.stdout.write(f"{'noticed' if found else 'MISSED '}  {mutant.name} ({mutant.test})\n")
        sys.stdout.flush()
    sys.stdout.write(f"mutants noticed: {noticed}/{len(MUTANTS)}\n")
    return 0 if noticed == len(MUTANTS) else 1


if __name__ == "__main__":
    sys.exit(main())
