"""LUTHIER_HOME: one stack at a time, and leftover processes of a killed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.local.home import AlreadyRunning, Home, HomeUnusable

SLEEPER = "import time; time.sleep(600)"


def test_one_stack_at_a_time(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.lock():
        home.record_stack("http://127.0.0.1:8123", "postgresql://x", "unix:///x")
        with pytest.raises(AlreadyRunning, match=f"8123 .process {os.getpid()}.*Ctrl-C"):
            Home(home.path).lock().__enter__()
    with home.lock():
        pass


def test_leftover_processes_are_killed_by_pid_and_start_time(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    sleepers = [subprocess.Popen([sys.executable, "-c", SLEEPER]) for _ in range(2)]
    try:
        leftover, unrelated = sleepers
        home.record_processes({"trainer": leftover.pid, "engine": unrelated.pid})
        # A pid that was reused: the recorded process has ended.
        record = home.path / "run" / "children.json"
        trainer, engine = json.loads(record.read_text())
        record.write_text(json.dumps([trainer, engine | {"started_at": engine["started_at"] - 60}]))
        assert home.kill_leftovers() == ["trainer"]
        assert leftover.poll() is not None
        assert unrelated.poll() is None
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_truncated_records_are_ignored(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.record_stack("http://127.0.0.1:8000", "postgresql://x", "unix:///x")
    assert home.running_stack() is not None
    (home.path / "run" / "stack.json").write_text('{"stack": {"na')
    (home.path / "run" / "children.json").write_text("")
    assert home.running_stack() is None
    assert home.kill_leftovers() == []


def test_a_home_that_cannot_be_created_has_an_error_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        HomeUnusable, match=r"home. cannot be written to: .*file: .*\. Choose another"
    ):
        Home(tmp_path / "file" / "home")
