"""The training process as the operating system sees it: its signals, its children, its end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from worker.rundir import RunFolder
from worker.supervisor.training_process import EXEC_WITH_PARENT, TrainingProcess


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


# Starts a child that outlives everything but SIGKILL, and names it.
PARENT = """
import pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1], "child").write_text(str(child.pid))
{then}
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def finished(process: TrainingProcess) -> int:
    while (code := process.poll()) is None:
        time.sleep(0.01)
    return code


def child_of(folder: RunFolder) -> int:
    path = folder.path / "child"
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return int(path.read_text())


def wait_until_gone(pid: int) -> None:
    # Its file goes with it, at whatever moment.
    with suppress(FileNotFoundError, ProcessLookupError):
        # An orphan that is not reaped yet is as good as gone.
        while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            time.sleep(0.01)


@pytest.mark.parametrize("code", [0, 10, 75])
def test_its_exit_code_is_told(folder: RunFolder, code: int) -> None:
    with TrainingProcess(folder, program(f"raise SystemExit({code})")) as process:
        assert finished(process) == code


def test_the_signal_that_killed_it_is_told(folder: RunFolder) -> None:
    with TrainingProcess(folder, program("import os; os.kill(os.getpid(), 9)")) as process:
        assert finished(process) == -signal.SIGKILL


def test_a_request_to_stop_is_a_mark_and_a_signal(folder: RunFolder) -> None:
    with TrainingProcess(folder, program("import time; time.sleep(300)")) as process:
        process.stop(grace_seconds=300)
        assert finished(process) == -signal.SIGTERM
        assert folder.stop_file.exists()
        assert process.was_stopped


def test_after_the_grace_it_is_killed(folder: RunFolder) -> None:
    with TrainingProcess(folder, program(PARENT.format(then=DEAF))) as process:
        child_of(folder)
        process.stop(grace_seconds=0)
        assert finished(process) in (-signal.SIGKILL, -signal.SIGTERM)


def test_its_children_end_with_it(folder: RunFolder) -> None:
    with TrainingProcess(folder, program(PARENT.format(then=""))) as process:
        finished(process)
    wait_until_gone(child_of(folder))


def test_leaving_the_block_kills_it_and_its_children(folder: RunFolder) -> None:
    with TrainingProcess(folder, program(PARENT.format(then=DEAF))) as process:
        child = child_of(folder)
    assert not Path(f"/proc/{process.pid}").exists()
    wait_until_gone(child)


def test_what_it_prints_is_kept_in_the_folder(folder: RunFolder) -> None:
    with TrainingProcess(folder, program("print('hello')")) as process:
        finished(process)
    assert folder.log.read_text() == "hello\n"


def test_where_memory_runs_out_it_is_the_one_to_die(folder: RunFolder) -> None:
    with TrainingProcess(folder, program("import time; time.sleep(300)")) as process:
        score = int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())
    assert score > int(Path(f"/proc/{os.getpid()}/oom_score_adj").read_text())


SUPERVISOR = """
import pathlib, sys, time
from worker.rundir import RunFolder
from worker.supervisor.training_process import TrainingProcess
folder = RunFolder(pathlib.Path(sys.argv[1]))
with TrainingProcess(folder, (sys.executable, "-c", sys.argv[2])) as process:
    (folder.path / "child").write_text(str(process.pid))
    time.sleep(300)
"""


def test_it_dies_with_its_supervisor_at_whatever_moment(folder: RunFolder) -> None:
    """At once, so that it may still be starting; no signal but SIGKILL would end it."""
    supervisor = subprocess.Popen(
        [*program(SUPERVISOR), str(folder.path), f"import signal, time; {DEAF}"]
    )
    child = child_of(folder)
    supervisor.kill()
    supervisor.wait()
    wait_until_gone(child)


def test_it_does_not_begin_when_its_supervisor_is_gone_already(folder: RunFolder) -> None:
    began = folder.path / "began"
    result = subprocess.run(
        [*EXEC_WITH_PARENT, "1", sys.executable, "-c", f"open({str(began)!r}, 'w')"],
        capture_output=True,
        check=False,
    )
    assert result.returncode != 0
    assert not began.exists()
