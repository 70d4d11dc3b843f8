"""Tail of a training log: events and frames stay, and nothing that may quote training data."""

import json
from pathlib import Path

from worker.supervisor import log_tail

SECRET_TEXT = "My diagnosis is private"


def read(tmp_path: Path, text: str) -> str:
    path = tmp_path / "log"
    path.write_text(text)
    return log_tail.read_tail(path)


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert log_tail.read_tail(tmp_path / "none") == ""


def test_events_and_frames_stay_without_text_and_folders(tmp_path: Path) -> None:
    exception = (
        "Traceback (most recent call last):\n"
        '  File "/srv/secret-home/lib/site-packages/worker/training/loop.py", line 7, in run\n'
        f'    tokenize("{SECRET_TEXT}")\n'
        f"ValueError: cannot tokenize {SECRET_TEXT}\n"
        f"    {SECRET_TEXT}\n"
    )
    record = {
        "event": "training.failed",
        "level": "error",
        "timestamp": "2026-11-30T00:00:00Z",
        "row": SECRET_TEXT,
        "exception": exception,
    }
    tail = read(
        tmp_path,
        f"{SECRET_TEXT}\nUserWarning: {SECRET_TEXT}\n{json.dumps(record)}\n{exception}{{broken\n",
    )
    assert SECRET_TEXT not in tail
    assert "secret-home" not in tail
    lines = tail.splitlines()
    assert lines[0] == "[1 line(s) of other output]"
    assert "2026-11-30T00:00:00Z error training.failed" in lines
    assert '  File "worker/training/loop.py", line 7, in run' in lines
    assert lines.count("ValueError") == 2


def test_long_logs_are_cut_at_a_line(tmp_path: Path) -> None:
    line = json.dumps({"event": "x" * 50, "level": "info", "timestamp": "t"})
    tail = read(tmp_path, f"{line}\n" * 20_000)
    assert 10_000 < len(tail) <= log_tail.MAX_TAIL_CHARS
    assert all(each == f"t info {'x' * 50}" for each in tail.splitlines())


def test_secrets_are_redacted(tmp_path: Path) -> None:
    record = {"event": "failed sk-luthier-abcdefghijklmnop", "level": "error", "timestamp": "t"}
    assert "ijklmnop" not in read(tmp_path, json.dumps(record))
