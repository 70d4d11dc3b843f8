"""The training process: signals, exit codes, priority, and death with its supervisor."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.polling import wait_until
from tests.worker.training.conftest import MakeRun, events
from worker.run_folder import CheckpointWritten, ExitCode, Metrics, RunFolder

pytestmark = pytest.mark.training

LONG = {"n_epochs": 5000, "batch_size": 4}
# A supervisor that starts training and prints its process id.
SUPERVISOR = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "worker.training", sys.argv[1]])
print(child.pid, flush=True)
time.sleep(600)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "worker.training", str(folder)])


def has_made_a_step(folder: RunFolder) -> bool:
    return any(isinstance(event, Metrics) for event in events(folder))


def test_sigterm_saves_a_checkpoint_and_yields(make_run: MakeRun) -> None:
    folder = make_run(hyperparameters=LONG)
    process = start(folder.path)
    wait_until("it has made a step", lambda: has_made_a_step(folder))
    process.terminate()
    assert process.wait(240) == ExitCode.YIELDED
    last = events(folder)[-1]
    assert isinstance(last, CheckpointWritten)
    assert folder.list_checkpoint_steps()[0] == last.step


def test_user_errors_have_an_exit_code(make_run: MakeRun) -> None:
    assert start(make_run(context_length=16).path).wait(240) == ExitCode.USER_ERROR


def test_it_dies_with_its_supervisor_and_has_low_priority(make_run: MakeRun) -> None:
    folder = make_run(hyperparameters=LONG)
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder.path)], stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    child = int(supervisor.stdout.readline())
    wait_until("it has made a step", lambda: has_made_a_step(folder))
    assert os.getpriority(os.PRIO_PROCESS, child) >= 5
    assert Path(f"/proc/{child}/oom_score_adj").read_text().strip() == "800"
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    wait_until("it is gone", lambda: not is_alive(child))


def is_alive(pid: int) -> bool:
    """True if the process runs; a zombie, which waits to be reaped, counts as dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
