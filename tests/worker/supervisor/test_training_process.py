"""The training process: signals, children, exit codes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from worker.run_folder import RunFolder
from worker.supervisor.training_process import EXEC_WITH_PARENT, TrainingProcess


def python_command(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


# Starts a child and writes its process id to a file.
PARENT = """
import pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1], "child").write_text(str(child.pid))
{then}
"""
IGNORE_SIGTERM = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def wait_for_exit_code(process: TrainingProcess) -> int:
    while (code := process.poll()) is None:
        time.sleep(0.01)
    return code


def wait_for_child_id(folder: RunFolder) -> int:
    path = folder.path / "child"
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return int(path.read_text())


def wait_until_gone(pid: int) -> None:
    # Its /proc file may vanish at any moment.
    with suppress(FileNotFoundError, ProcessLookupError):
        # A zombie that is not reaped yet counts as gone.
        while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            time.sleep(0.01)


@pytest.mark.parametrize("code", [0, 10, 75])
def test_poll_returns_the_exit_code(folder: RunFolder, code: int) -> None:
    with TrainingProcess(folder, python_command(f"raise SystemExit({code})")) as process:
        assert wait_for_exit_code(process) == code


def test_poll_returns_the_negative_signal(folder: RunFolder) -> None:
    with TrainingProcess(folder, python_command("import os; os.kill(os.getpid(), 9)")) as process:
        assert wait_for_exit_code(process) == -signal.SIGKILL


def test_stop_creates_the_stop_file_and_sends_sigterm(folder: RunFolder) -> None:
    with TrainingProcess(folder, python_command("import time; time.sleep(300)")) as process:
        process.stop(grace_seconds=300)
        assert wait_for_exit_code(process) == -signal.SIGTERM
        assert folder.stop_file.exists()
        assert process.is_stop_requested


def test_it_is_killed_after_the_grace_period(folder: RunFolder) -> None:
    with TrainingProcess(folder, python_command(PARENT.format(then=IGNORE_SIGTERM))) as process:
        wait_for_child_id(folder)
        process.stop(grace_seconds=0)
        assert wait_for_exit_code(process) in (-signal.SIGKILL, -signal.SIGTERM)


def test_its_children_are_killed_with_it(folder: RunFolder) -> None:
    with TrainingProcess(folder, python_command(PARENT.format(then=""))) as process:
        wait_for_exit_code(process)
    wait_until_gone(wait_for_child_id(folder))


def test_leaving_the_with_block_kills_it_and_its_children(folder: RunFolder) -> None:
    with TrainingProcess(folder, python_command(PARENT.format(then=IGNORE_SIGTERM))) as process:
        child = wait_for_child_id(folder)
    assert not Path(f"/proc/{process.pid}").exists()
    wait_until_gone(child)


def test_its_output_is_logged_to_the_run_folder(folder: RunFolder) -> None:
    with TrainingProcess(folder, python_command("print('hello')")) as process:
        wait_for_exit_code(process)
    assert folder.log.read_text() == "hello\n"


def test_the_oom_killer_prefers_it(folder: RunFolder) -> None:
    with TrainingProcess(folder, python_command("import time; time.sleep(300)")) as process:
        score = int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())
    assert score > int(Path(f"/proc/{os.getpid()}/oom_score_adj").read_text())


SUPERVISOR = """
import pathlib, sys, time
from worker.run_folder import RunFolder
from worker.supervisor.training_process import TrainingProcess
folder = RunFolder(pathlib.Path(sys.argv[1]))
with TrainingProcess(folder, (sys.executable, "-c", sys.argv[2])) as process:
    (folder.path / "child").write_text(str(process.pid))
    time.sleep(300)
"""


def test_it_dies_with_its_supervisor_even_while_starting(folder: RunFolder) -> None:
    """The supervisor is killed at once, so that the process may still be starting."""
    supervisor = subprocess.Popen(
        [*python_command(SUPERVISOR), str(folder.path), f"import signal, time; {IGNORE_SIGTERM}"]
    )
    child = wait_for_child_id(folder)
    supervisor.kill()
    supervisor.wait()
    wait_until_gone(child)


def test_it_does_not_start_without_its_supervisor(folder: RunFolder) -> None:
    began = folder.path / "began"
    result = subprocess.run(
        [*EXEC_WITH_PARENT, "1", sys.executable, "-c", f"open({str(began)!r}, 'w')"],
        capture_output=True,
        check=False,
    )
    assert result.returncode != 0
    assert not began.exists()
