"""The process supervisor, with real small programs that sleep, hang, fail and die."""

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.local.processes import (
    MAX_LOG_BYTES,
    MAX_ROTATED_LOGS,
    ProcessSpec,
    is_alive,
    rotate_log,
    spawn,
    tail,
)
from app.local.supervisor import ShutdownRequested, SignalCounter, StartFailed, Supervisor
from tests.polling import wait_until

ROOT = Path(__file__).resolve().parents[3]
SLEEPER = "import time; print('awake', flush=True); time.sleep(600)"
# Ignores SIGTERM, as a hanging program does.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('awake', flush=True); time.sleep(600)"
)
BROKEN = "import sys; print('nothing works', file=sys.stderr); sys.exit(3)"


@pytest.fixture
def signals() -> Iterator[SignalCounter]:
    with SignalCounter() as signals:
        yield signals


@pytest.fixture
def output() -> list[str]:
    return []


@pytest.fixture
def supervisor(signals: SignalCounter, output: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(signals, output.append, lambda _: None)
    yield supervisor
    signals.count = 2  # as after a second Ctrl-C
    supervisor.stop(list(supervisor.processes))


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., ProcessSpec]:
    def make(code: str, *, name: str = "child", **changes: object) -> ProcessSpec:
        log = tmp_path / f"{name}.log"
        defaults: dict[str, object] = {
            "name": name,
            "command": (sys.executable, "-c", code),
            "environment": os.environ,
            "log": log,
            "is_ready": lambda: b"awake" in log.read_bytes(),
        }
        return ProcessSpec(**{**defaults, **changes})  # type: ignore[arg-type]

    return make


def poll_until(supervisor: Supervisor, is_met: Callable[[], bool]) -> None:
    def poll_and_check() -> bool:
        supervisor.poll()
        return is_met()

    wait_until("the expected state was reached", poll_and_check)


def process_of(supervisor: Supervisor, name: str = "child") -> psutil.Process:
    return psutil.Process(supervisor.pids()[name])


class TestSupervisor:
    def test_a_dead_child_is_restarted_with_backoff(
        self, supervisor: Supervisor, output: list[str], program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER))
        supervisor.wait_until_ready("child")
        for _ in range(2):
            first = process_of(supervisor)
            first.kill()
            poll_until(
                supervisor,
                lambda dead=first.pid: supervisor.pids().get("child") not in (None, dead),
            )
        assert [line for line in output if "ready" not in line] == [
            "child was killed by SIGKILL; restarting it in 0.5 s",
            "child was killed by SIGKILL; restarting it in 1 s",
        ]
        assert is_alive(process_of(supervisor))

    def test_a_health_problem_is_reported_once_per_occurrence(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec], output: list[str]
    ) -> None:
        problems = iter([None, "It limps.", "It limps.", None, "It limps."])
        supervisor.start(
            program(SLEEPER, is_ready=lambda: True, health_problem=lambda: next(problems))
        )
        supervisor.wait_until_ready("child")
        for _ in range(5):
            supervisor.processes["child"].next_health_check_at = 0
            supervisor.poll()
        assert output[1:] == ["child: It limps."] * 2

    def test_a_start_failure_shows_the_end_of_the_log(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(BROKEN, is_ready=lambda: False))
        with pytest.raises(StartFailed) as caught:
            supervisor.wait_until_ready("child")
        assert "child exited with code 3" in str(caught.value)
        assert str(caught.value).endswith("nothing works")

    def test_an_optional_child_that_fails_to_start_leaves_the_others_running(
        self, supervisor: Supervisor, output: list[str], program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER, name="other"))
        broken = program(BROKEN, is_ready=lambda: False, is_optional=True)
        supervisor.start(broken)
        child = supervisor.processes["child"]
        poll_until(supervisor, lambda: child.has_failed_to_start)
        child.restart_at = 0
        poll_until(supervisor, lambda: child.consecutive_exits == 4)
        (report,) = [line for line in output if "nothing works" in line]
        assert "child exited with code 3" in report
        assert str(broken.log) in report
        assert child.restart_at > 0, "it is tried again"
        assert is_alive(process_of(supervisor, "other"))

    def test_a_child_that_was_ready_is_always_restarted(
        self, supervisor: Supervisor, output: list[str], program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER))
        supervisor.wait_until_ready("child")
        supervisor.processes["child"].spec = program(BROKEN)
        process_of(supervisor).kill()
        poll_until(supervisor, lambda: len(output) == 5)
        assert output[-1] == "child exited with code 3; restarting it in 4 s"

    def test_a_missing_program_has_an_error_message(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        missing = program("", command=("/nowhere/at/all",))
        with pytest.raises(StartFailed, match=r"child cannot be started: .*/nowhere"):
            supervisor.start(missing)
        supervisor.start(replace(missing, is_optional=True))
        supervisor.poll()
        assert supervisor.pids() == {}

    def test_waiting_for_readiness_times_out(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER, is_ready=lambda: False))
        with pytest.raises(StartFailed, match="child is not ready after 0 s"):
            supervisor.wait_until_ready("child", timeout_seconds=0.2)

    def test_a_run_once_child_is_not_restarted(
        self, supervisor: Supervisor, output: list[str], program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program("print('awake')", run_once=True, is_ready=None))
        poll_until(supervisor, lambda: not supervisor.pids())
        supervisor.poll()
        assert supervisor.pids() == {}
        assert output == []

    def test_a_signal_interrupts_waiting(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER, is_ready=lambda: False))
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(ShutdownRequested):
            supervisor.wait_until_ready("child")

    def test_stop_ends_children_in_stages(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        print_end_time = (
            "import signal, sys, time\n"
            "signal.signal(15, lambda *_: sys.exit(print(time.monotonic())))\n"
        )
        for name in ("first", "second"):
            supervisor.start(program(f"{print_end_time}{SLEEPER}", name=name))
        supervisor.wait_until_ready("first", "second")
        logs = {name: child.spec.log for name, child in supervisor.processes.items()}
        supervisor.stop(["first"], ["second"])
        ended = {name: float(tail(log).splitlines()[-1]) for name, log in logs.items()}
        assert ended["first"] < ended["second"]
        assert supervisor.processes == {}

    def test_a_hanging_child_is_killed_with_its_descendants(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        spawn_child = (
            f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); "
        )
        supervisor.start(program(spawn_child + STUBBORN, stop_timeout_seconds=0.3))
        supervisor.wait_until_ready("child")
        parent = process_of(supervisor)
        poll_until(supervisor, lambda: bool(parent.children()))
        family = [parent, *parent.children(recursive=True)]
        supervisor.stop(["child"])
        assert [process for process in family if is_alive(process)] == []

    def test_a_second_signal_kills_at_once(
        self, supervisor: Supervisor, signals: SignalCounter, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(STUBBORN, stop_timeout_seconds=600))
        supervisor.wait_until_ready("child")
        signals.count = 2
        child = process_of(supervisor)
        supervisor.stop(["child"])
        assert not is_alive(child)


# Stands for a `luthier up` that is killed.
PARENT = """
import os, sys, time
from pathlib import Path
from app.local.processes import ProcessSpec, spawn
command = (sys.executable, "-c", sys.argv[2])
spawn(ProcessSpec(name="child", command=command, environment=os.environ, log=Path(sys.argv[1])))
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals need Linux")
def test_what_a_child_leaves_behind_is_killed_before_it_is_restarted(
    supervisor: Supervisor, program: Callable[..., ProcessSpec], tmp_path: Path
) -> None:
    """Workers of an engine hold the accelerator's memory, which its successor needs."""
    worker = tmp_path / "worker"
    code = (
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(worker)!r}).write_text(str(child.pid))\n"
    )
    supervisor.start(program(code, kill_group_on_exit=True, is_ready=lambda: False))

    def has_exited() -> bool:
        supervisor.poll()
        return bool(supervisor.processes["child"].consecutive_exits)

    wait_until("the child has exited", has_exited)
    pid = int(worker.read_text())
    wait_until("its worker is gone", lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), STUBBORN],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        children = psutil.Process(parent.pid).children()
        assert len(children) == 1
        parent.kill()
    wait_until("the children are dead", lambda: not any(map(is_alive, children)))


def test_log_folders_are_private(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    process = spawn(ProcessSpec(name="child", command=("true",), environment={}, log=log))
    process.wait(120)
    assert log.parent.stat().st_mode & 0o777 == 0o700


def test_rotation_keeps_the_end_and_the_open_file(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * MAX_LOG_BYTES + b"\nthe end\n")
        rotate_log(log)
        writer.write(b"and on\n")
    assert log.read_bytes() == b"and on\n"
    with gzip.open(log.with_name("child.log.1.gz")) as rotated:
        assert rotated.read().endswith(b"\nthe end\n")


def test_a67_rotation_keeps_many_files_and_drops_the_oldest(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    for number in range(MAX_ROTATED_LOGS + 2):
        log.write_bytes(b"%d\n" % number + b"x" * MAX_LOG_BYTES)
        rotate_log(log)
    kept = [gzip.open(log.with_name(f"child.log.{n}.gz")).readline() for n in (1, MAX_ROTATED_LOGS)]
    assert kept == [b"%d\n" % (MAX_ROTATED_LOGS + 1), b"2\n"]
    assert len(list(tmp_path.iterdir())) == MAX_ROTATED_LOGS + 1
