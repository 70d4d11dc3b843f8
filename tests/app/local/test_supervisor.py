"""The keeper of children, with real tiny programs that sleep, hang, break and die."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.local.processes import MAX_LOG_BYTES, Program, bound, is_alive, spawn, tail
from app.local.supervisor import CannotStart, Interrupts, Keeper, Stopped
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
def interrupts() -> Iterator[Interrupts]:
    with Interrupts() as interrupts:
        yield interrupts


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def keeper(interrupts: Interrupts, said: list[str]) -> Iterator[Keeper]:
    keeper = Keeper(interrupts, said.append, lambda _: None)
    yield keeper
    interrupts.count = 2  # hurry
    keeper.stop(list(keeper.children))


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    def make(code: str, *, name: str = "child", **changes: object) -> Program:
        log = tmp_path / f"{name}.log"
        defaults: dict[str, object] = {
            "name": name,
            "command": (sys.executable, "-c", code),
            "environment": os.environ,
            "log": log,
            "ready": lambda: b"awake" in log.read_bytes(),
        }
        return Program(**{**defaults, **changes})  # type: ignore[arg-type]

    return make


def tend_until(keeper: Keeper, holds: Callable[[], bool]) -> None:
    def tended() -> bool:
        keeper.tend()
        return holds()

    wait_until("what the test waits for has happened", tended)


def process_of(keeper: Keeper, name: str = "child") -> psutil.Process:
    return psutil.Process(keeper.pids()[name])


class TestKeeper:
    def test_a_child_that_dies_is_started_again_after_a_growing_pause(
        self, keeper: Keeper, said: list[str], program: Callable[..., Program]
    ) -> None:
        keeper.start(program(SLEEPER))
        keeper.wait_ready("child")
        for _ in range(2):
            first = process_of(keeper)
            first.kill()
            tend_until(
                keeper, lambda dead=first.pid: keeper.pids().get("child") not in (None, dead)
            )
        assert [line for line in said if "ready" not in line] == [
            "child was ended by SIGKILL; starting it again in 0.5 s",
            "child was ended by SIGKILL; starting it again in 1 s",
        ]
        assert is_alive(process_of(keeper))

    def test_its_trouble_is_told_once_and_again_when_it_comes_back(
        self, keeper: Keeper, program: Callable[..., Program], said: list[str]
    ) -> None:
        troubles = iter([None, "It limps.", "It limps.", None, "It limps."])
        keeper.start(program(SLEEPER, ready=lambda: True, trouble=lambda: next(troubles)))
        keeper.wait_ready("child")
        for _ in range(5):
            keeper.children["child"].look_at = 0
            keeper.tend()
        assert said[1:] == ["child: It limps."] * 2

    def test_one_that_cannot_start_ends_with_its_last_lines(
        self, keeper: Keeper, program: Callable[..., Program]
    ) -> None:
        keeper.start(program(BROKEN, ready=lambda: False))
        with pytest.raises(CannotStart) as caught:
            keeper.wait_ready("child")
        assert "child ended with exit code 3" in str(caught.value)
        assert str(caught.value).endswith("the cupboard is bare")

    def test_one_that_has_been_ready_is_never_given_up(
        self, keeper: Keeper, said: list[str], program: Callable[..., Program]
    ) -> None:
        keeper.start(program(SLEEPER))
        keeper.wait_ready("child")
        keeper.children["child"].program = program(BROKEN)
        process_of(keeper).kill()
        tend_until(keeper, lambda: len(said) == 5)
        assert said[-1] == "child ended with exit code 3; starting it again in 4 s"

    def test_a_program_that_is_not_there_is_a_sentence(
        self, keeper: Keeper, program: Callable[..., Program]
    ) -> None:
        with pytest.raises(CannotStart, match=r"child cannot be started: .*/nowhere"):
            keeper.start(program("", command=("/nowhere/at/all",)))

    def test_one_that_does_not_get_ready_ends_the_wait(
        self, keeper: Keeper, program: Callable[..., Program]
    ) -> None:
        keeper.start(program(SLEEPER, ready=lambda: False))
        with pytest.raises(CannotStart, match="child is not ready after 0 s"):
            keeper.wait_ready("child", seconds=0.2)

    def test_a_child_that_runs_once_is_not_started_again(
        self, keeper: Keeper, said: list[str], program: Callable[..., Program]
    ) -> None:
        keeper.start(program("print('awake')", once=True, ready=None))
        tend_until(keeper, lambda: not keeper.pids())
        keeper.tend()
        assert keeper.pids() == {}
        assert said == []

    def test_a_signal_ends_the_wait(self, keeper: Keeper, program: Callable[..., Program]) -> None:
        keeper.start(program(SLEEPER, ready=lambda: False))
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):
            keeper.wait_ready("child")

    def test_stop_ends_children_stage_by_stage(
        self, keeper: Keeper, program: Callable[..., Program]
    ) -> None:
        note = (
            "import signal, sys, time\n"
            "signal.signal(15, lambda *_: sys.exit(print(time.monotonic())))\n"
        )
        for name in ("first", "second"):
            keeper.start(program(f"{note}{SLEEPER}", name=name))
        keeper.wait_ready("first", "second")
        logs = {name: child.program.log for name, child in keeper.children.items()}
        keeper.stop(["first"], ["second"])
        ended = {name: float(tail(log).splitlines()[-1]) for name, log in logs.items()}
        assert ended["first"] < ended["second"]
        assert keeper.children == {}

    def test_a_child_that_hangs_is_killed_with_all_that_it_started(
        self, keeper: Keeper, program: Callable[..., Program]
    ) -> None:
        below = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); "
        keeper.start(program(below + STUBBORN, stop_seconds=0.3))
        keeper.wait_ready("child")
        parent = process_of(keeper)
        tend_until(keeper, lambda: bool(parent.children()))
        family = [parent, *parent.children(recursive=True)]
        keeper.stop(["child"])
        assert [process for process in family if is_alive(process)] == []

    def test_a_second_signal_hurries(
        self, keeper: Keeper, interrupts: Interrupts, program: Callable[..., Program]
    ) -> None:
        keeper.start(program(STUBBORN, stop_seconds=600))
        keeper.wait_ready("child")
        interrupts.count = 2
        child = process_of(keeper)
        keeper.stop(["child"])
        assert not is_alive(child)


# What a killed `luthier up` is to its children: a process that is gone from one moment to the next.
PARENT = """
import os, sys, time
from pathlib import Path
from app.local.processes import Program, spawn
command = (sys.executable, "-c", sys.argv[2])
spawn(Program(name="child", command=command, environment=os.environ, log=Path(sys.argv[1])))
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
    process = spawn(Program(name="child", command=("true",), environment={}, log=log))
    process.wait(120)
    assert log.parent.stat().st_mode & 0o777 == 0o700


def test_a_long_log_keeps_its_end_and_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * MAX_LOG_BYTES + b"\nthe end\n")
        bound(log)
        writer.write(b"and on\n")
    assert log.read_bytes() == b"and on\n"
    assert tail(log.with_name("child.log.1"), 1) == "the end"
