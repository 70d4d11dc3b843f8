"""The supervisor of children, with real tiny programs that sleep, hang, break and die."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.local.processes import MAX_LOG_BYTES, ProcessSpec, is_alive, rotate_log, spawn, tail
from app.local.supervisor import CannotStart, SignalCounter, Stopped, Supervisor
from tests.polling import wait_until

ROOT = Path(__file__).resolve().parents[3]
SLEEPER = "import time; print('awake', flush=True); time.sleep(600)"
# Ignores SIGTERM, as a program that hangs does.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('awake', flush=True); time.sleep(600)"
)
BROKEN = "import sys; print('the cupboard is bare', file=sys.stderr); sys.exit(3)"


@pytest.fixture
def signals() -> Iterator[SignalCounter]:
    with SignalCounter() as signals:
        yield signals


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(signals: SignalCounter, said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(signals, said.append, lambda _: None)
    yield supervisor
    signals.count = 2  # hurry
    supervisor.stop(list(supervisor.children))


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


def poll_until(supervisor: Supervisor, holds: Callable[[], bool]) -> None:
    def tended() -> bool:
        supervisor.poll()
        return holds()

    wait_until("what the test waits for has happened", tended)


def process_of(supervisor: Supervisor, name: str = "child") -> psutil.Process:
    return psutil.Process(supervisor.pids()[name])


class TestSupervisor:
    def test_a_child_that_dies_is_started_again_after_a_growing_pause(
        self, supervisor: Supervisor, said: list[str], program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER))
        supervisor.wait_ready("child")
        for _ in range(2):
            first = process_of(supervisor)
            first.kill()
            poll_until(
                supervisor,
                lambda dead=first.pid: supervisor.pids().get("child") not in (None, dead),
            )
        assert [line for line in said if "ready" not in line] == [
            "child was killed by SIGKILL; restarting it in 0.5 s",
            "child was killed by SIGKILL; restarting it in 1 s",
        ]
        assert is_alive(process_of(supervisor))

    def test_its_trouble_is_told_once_and_again_when_it_comes_back(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec], said: list[str]
    ) -> None:
        troubles = iter([None, "It limps.", "It limps.", None, "It limps."])
        supervisor.start(
            program(SLEEPER, is_ready=lambda: True, health_problem=lambda: next(troubles))
        )
        supervisor.wait_ready("child")
        for _ in range(5):
            supervisor.children["child"].check_health_at = 0
            supervisor.poll()
        assert said[1:] == ["child: It limps."] * 2

    def test_one_that_cannot_start_ends_with_its_last_lines(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(BROKEN, is_ready=lambda: False))
        with pytest.raises(CannotStart) as caught:
            supervisor.wait_ready("child")
        assert "child exited with code 3" in str(caught.value)
        assert str(caught.value).endswith("the cupboard is bare")

    def test_one_that_has_been_ready_is_never_given_up(
        self, supervisor: Supervisor, said: list[str], program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER))
        supervisor.wait_ready("child")
        supervisor.children["child"].spec = program(BROKEN)
        process_of(supervisor).kill()
        poll_until(supervisor, lambda: len(said) == 5)
        assert said[-1] == "child exited with code 3; restarting it in 4 s"

    def test_a_program_that_is_not_there_is_a_sentence(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        with pytest.raises(CannotStart, match=r"child cannot be started: .*/nowhere"):
            supervisor.start(program("", command=("/nowhere/at/all",)))

    def test_one_that_does_not_get_ready_ends_the_wait(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER, is_ready=lambda: False))
        with pytest.raises(CannotStart, match="child is not ready after 0 s"):
            supervisor.wait_ready("child", seconds=0.2)

    def test_a_child_that_runs_once_is_not_started_again(
        self, supervisor: Supervisor, said: list[str], program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program("print('awake')", run_once=True, is_ready=None))
        poll_until(supervisor, lambda: not supervisor.pids())
        supervisor.poll()
        assert supervisor.pids() == {}
        assert said == []

    def test_a_signal_ends_the_wait(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(SLEEPER, is_ready=lambda: False))
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):
            supervisor.wait_ready("child")

    def test_stop_ends_children_stage_by_stage(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        note = (
            "import signal, sys, time\n"
            "signal.signal(15, lambda *_: sys.exit(print(time.monotonic())))\n"
        )
        for name in ("first", "second"):
            supervisor.start(program(f"{note}{SLEEPER}", name=name))
        supervisor.wait_ready("first", "second")
        logs = {name: child.spec.log for name, child in supervisor.children.items()}
        supervisor.stop(["first"], ["second"])
        ended = {name: float(tail(log).splitlines()[-1]) for name, log in logs.items()}
        assert ended["first"] < ended["second"]
        assert supervisor.children == {}

    def test_a_child_that_hangs_is_killed_with_all_that_it_started(
        self, supervisor: Supervisor, program: Callable[..., ProcessSpec]
    ) -> None:
        below = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); "
        supervisor.start(program(below + STUBBORN, stop_timeout_seconds=0.3))
        supervisor.wait_ready("child")
        parent = process_of(supervisor)
        poll_until(supervisor, lambda: bool(parent.children()))
        family = [parent, *parent.children(recursive=True)]
        supervisor.stop(["child"])
        assert [process for process in family if is_alive(process)] == []

    def test_a_second_signal_hurries(
        self, supervisor: Supervisor, signals: SignalCounter, program: Callable[..., ProcessSpec]
    ) -> None:
        supervisor.start(program(STUBBORN, stop_timeout_seconds=600))
        supervisor.wait_ready("child")
        signals.count = 2
        child = process_of(supervisor)
        supervisor.stop(["child"])
        assert not is_alive(child)


# What a killed `luthier up` is to its children: a process that is gone from one moment to the next.
PARENT = """
import os, sys, time
from pathlib import Path
from app.local.processes import ProcessSpec, spawn
command = (sys.executable, "-c", sys.argv[2])
spawn(ProcessSpec(name="child", command=command, environment=os.environ, log=Path(sys.argv[1])))
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of the death")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
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
    wait_until("they are dead", lambda: not any(map(is_alive, children)))


def test_logs_are_nobody_elses_business(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    process = spawn(ProcessSpec(name="child", command=("true",), environment={}, log=log))
    process.wait(120)
    assert log.parent.stat().st_mode & 0o777 == 0o700


def test_a_long_log_keeps_its_end_and_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * MAX_LOG_BYTES + b"\nthe end\n")
        rotate_log(log)
        writer.write(b"and on\n")
    assert log.read_bytes() == b"and on\n"
    assert tail(log.with_name("child.log.1"), 1) == "the end"
