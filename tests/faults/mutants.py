"""Mutation testing: remove one safeguard at a time in a copy, and expect a test to fail.

`python tests/faults/mutants.py` ends with `mutants killed: N/N`, and with code 1 if one survived.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED_PATHS = ("app", "worker", "migrations", "tests", "pyproject.toml", "models.toml")
STATE_MACHINE_TEST = "tests/app/jobs/test_lifecycle_machine.py"
FENCING_TEST = (
    "tests/app/jobs/test_attempt_outcomes.py::test_no_write_of_an_earlier_attempt_changes_any_row"
)
SHIPPED_TEMPLATES_TEST = "tests/worker/model/rendering/shipped/test_shipped.py"
TIMEOUT_SECONDS = 900


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
        "objects are deleted while a backup copies them",
        "app/db/deletion_hold.py",
        "        if not session.scalar(select(func.pg_try_advisory_lock_shared(HOLD_LOCK_ID))):\n",
        "        if False:\n",
        "tests/app/backup/test_backup.py::TestF45Concurrency",
    ),
    Mutant(
        "the tables of a backup are not of one snapshot",
        "app/backup/create.py",
        'isolation_level="REPEATABLE READ"',
        'isolation_level="READ COMMITTED"',
        "tests/app/backup/test_backup.py::TestF45Concurrency",
    ),
    Mutant(
        "the objects of a backup are not verified before a restore",
        "app/backup/restore.py",
        '    verify_objects(folder, read_objects(path), Progress("Verified", echo))\n',
        "",
        "tests/app/backup/test_backup.py::TestF45Damage",
    ),
    Mutant(
        "a live trainer is considered dead",
        "worker/supervisor/liveness_lock.py",
        "path.name != self.name and _is_unlocked(path)",
        "path.name != self.name",
        "tests/worker/supervisor/test_liveness_lock.py",
    ),
    Mutant(
        "two reconcilers are leader at the same time",
        "app/operations/leader_election.py",
        "        if not session.scalar(select(func.pg_try_advisory_lock(LEADER_LOCK_ID))):\n",
        "        if False:\n",
        "tests/app/operations/test_reconciler.py",
    ),
    Mutant(
        "a trainer's writes are not checked for the attempt",
        "app/jobs/states.py",
        ".where(Job.id == job_id, Job.attempt == attempt, Job.state.in_(HELD_STATES))",
        ".where(Job.id == job_id, Job.state.in_(HELD_STATES))",
        FENCING_TEST,
    ),
    Mutant(
        "a trainer's transitions are not checked for the attempt",
        "app/jobs/states.py",
        "statement.where(Job.attempt == by_attempt, Job.state.in_(HELD_STATES))",
        "statement.where(Job.state.in_(HELD_STATES))",
        FENCING_TEST,
    ),
    Mutant(
        "a cancelled job's trainer keeps its fencing token",
        "app/jobs/lifecycle.py",
        "        attempt=Job.attempt + 1,\n",
        "",
        STATE_MACHINE_TEST,
    ),
    Mutant(
        "a task hint is not in the outbox",
        "app/db/outbox.py",
        "    session.add(Outbox(kind=OutboxKind.NOTIFY, payload=payload))\n",
        "",
        STATE_MACHINE_TEST,
    ),
    Mutant(
        "leases are reclaimed before they expire",
        "app/jobs/lease_expiry.py",
        "    return JobLease.lease_until < func.clock_timestamp()\n",
        "    return JobLease.lease_until < func.clock_timestamp() + func.make_interval(1)\n",
        "tests/app/jobs/test_attempt_outcomes.py",
    ),
    Mutant(
        "the lease of an ended attempt is kept",
        "app/jobs/states.py",
        "    session.execute(delete(JobLease).where(JobLease.job_id == job_id))\n",
        "",
        STATE_MACHINE_TEST,
    ),
    Mutant(
        "Postgres accepts changes of terminal jobs",
        "migrations/versions/2026_11_22_0002_make_terminal_states_final.py",
        "    op.execute(TRIGGER)\n",
        "",
        "tests/app/jobs/test_states.py",
    ),
    Mutant(
        "a succeeded job can be cancelled",
        "app/jobs/states.py",
        "    JobState.SUCCEEDED: frozenset(),\n",
        "    JobState.SUCCEEDED: frozenset({JobState.CANCELLED}),\n",
        "tests/app/jobs/test_lifecycle.py",
    ),
    Mutant(
        "a response is not stored for retries",
        "app/http/idempotency.py",
        "        _store_response(session, attempt, response)\n",
        "",
        "tests/app/http/test_idempotency.py",
    ),
    Mutant(
        "an orphan is deleted by the first run that sees it",
        "app/operations/orphaned_objects.py",
        "orphans = unowned & self._suspects",
        "orphans = unowned",
        "tests/app/operations/test_orphaned_objects.py",
    ),
    Mutant(
        "turns that need a row of their own are not learned",
        "worker/model/rendering/examples.py",
        "        others = [place for place in turns if place not in in_row]\n",
        "        others: list[int] = []\n",
        SHIPPED_TEMPLATES_TEST,
    ),
    Mutant(
        "what is learned begins one token late",
        "worker/model/rendering/rows.py",
        "        self.mask[start:end] = True\n",
        "        self.mask[start + 1 : end] = True\n",
        SHIPPED_TEMPLATES_TEST,
    ),
    Mutant(
        "the end of a turn is not learned",
        "worker/model/rendering/answers.py",
        "if stop is None else text[: stop.end()]",
        "if stop is None else text[: stop.start()]",
        SHIPPED_TEMPLATES_TEST,
    ),
    Mutant(
        "an empty reasoning block is learned",
        "worker/model/rendering/answers.py",
        "        return 0 if is_the_authors else self._reasoning.empty_block(answer)\n",
        "        return 0\n",
        SHIPPED_TEMPLATES_TEST,
    ),
    Mutant(
        "prompts of a job without reasoning begin it",
        "worker/model/rendering/reasoning.py",
        '        return f"{prompt.rstrip()}\\n\\n{self._end}\\n\\n"\n',
        "        return prompt\n",
        SHIPPED_TEMPLATES_TEST,
    ),
    Mutant(
        "only the first of several calls is written",
        "worker/model/rendering/rewriting.py",
        "        if not features.parallel_calls:\n",
        "        if False:\n",
        SHIPPED_TEMPLATES_TEST,
    ),
    Mutant(
        "a model's prompts show the present day",
        "worker/model/rendering/options.py",
        "datetime.now() if self.now is None else datetime.fromisoformat(self.now)",
        "datetime.now()",
        "tests/worker/inference/test_serving_options.py",
    ),
)


def is_killed(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED_PATHS:
            _copy(ROOT / name, copy / name)
        path = copy / mutant.path
        source = path.read_text()
        if source.count(mutant.old) != 1:
            sys.exit(f"{mutant.name}: {mutant.path} has changed; update this mutant")
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
            command, cwd=copy, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
    # 1: tests failed. Any other code: they did not run.
    if result.returncode not in (0, 1):
        sys.exit(result.stdout.decode())
    return result.returncode == 1


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def main() -> int:
    killed = 0
    for mutant in MUTANTS:
        was_killed = is_killed(mutant)
        killed += was_killed
        sys.stdout.write(
            f"{'killed  ' if was_killed else 'SURVIVED'}  {mutant.name} ({mutant.test})\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"mutants killed: {killed}/{len(MUTANTS)}\n")
    return 0 if killed == len(MUTANTS) else 1


if __name__ == "__main__":
    sys.exit(main())
