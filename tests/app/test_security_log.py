"""The security log: whole lines, no secrets, and a size that no flood of refusals decides."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import security_log
from app.security_log import MAX_AGGREGATED_LINES, SecurityEvent, SecurityLog

FAILED = SecurityEvent.AUTHENTICATION_FAILED


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "logs" / "security.log"


def test_a67_lines_are_private_and_redacted(path: Path) -> None:
    SecurityLog(path, "api").write(
        SecurityEvent.OPERATOR_COMMAND, command="x sk-luthier-" + "s" * 43
    )
    (line,) = lines(path)
    assert line["command"] == "x sk-luthier-***"
    assert (line["event"], line["process"]) == ("operator.command", "api")
    assert path.stat().st_mode & 0o777 == 0o600
    assert {p.stat().st_mode & 0o777 for p in (path.parent, path.parent.parent)} == {0o700}


def test_a67_equal_refusals_are_counted(path: Path) -> None:
    log = SecurityLog(path, "api")
    for _ in range(10_000):
        log.count(FAILED, address="192.0.2.1", reason="unknown key")
    assert [line["count"] for line in lines(path)] == [1], "the first is written at once"
    log.summarize()
    assert [line["count"] for line in lines(path)] == [1, 9_999]
    log.summarize()
    assert len(lines(path)) == 2


def test_a67_a_flood_from_many_addresses_takes_few_lines_and_hides_no_other_event(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security_log, "MAX_AGGREGATED_GROUPS", 1_000)
    log = SecurityLog(path, "api")
    for number in range(20_000):
        log.count(FAILED, address=f"address {number}")
    for _ in range(50):
        log.count(FAILED, address="address 500")
    log.count(SecurityEvent.LIMIT_REACHED, key="key_1")
    log.write(SecurityEvent.ADMIN_REQUEST, path="/v1/organization/projects")
    log.summarize()
    written = lines(path)
    assert len(written) <= 2 * MAX_AGGREGATED_LINES + 3
    assert sum(line["count"] for line in written if line["event"] == FAILED) == 20_050
    assert max(line["count"] for line in written if "address" in line) == 51
    kinds = {line["event"] for line in written}
    assert kinds == {FAILED, "limit.reached", "admin.request"}


def test_a67_a_full_file_is_rotated_by_whichever_process_finds_it_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security_log, "MAX_FILE_BYTES", 2_000)
    logs = [SecurityLog(path, name) for name in ("api", "command")]
    for number in range(200):
        logs[number % 2].write(SecurityEvent.ADMIN_REQUEST, number=number)
    files = sorted(path.parent.iterdir())
    assert len(files) == 1 + security_log.MAX_ROTATED
    assert max(file.stat().st_size for file in files) < 2_200
    numbers = sorted(line["number"] for file in files for line in lines(file))
    assert numbers == [*range(numbers[0], 200)], "nothing but the oldest is lost"


def test_a67_a_line_is_written_once_where_the_file_cannot_be_rotated(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(security_log, "MAX_FILE_BYTES", 0)
    monkeypatch.setattr(Path, "replace", refuse)
    log = SecurityLog(path, "api")
    for number in range(2):
        log.write(SecurityEvent.ADMIN_REQUEST, number=number)
    assert [line["number"] for line in lines(path)] == [0, 1]
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    monkeypatch.setattr(security_log, "MAX_FILE_BYTES", 0)
    log.write(SecurityEvent.ADMIN_REQUEST, number=2)
    assert [line["number"] for line in lines(path.with_name(f"{path.name}.1"))] == [0, 1, 2]


def test_a67_processes_that_write_together_leave_whole_lines(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from app import security_log\n"
        "security_log.MAX_FILE_BYTES = 20_000\n"
        "log = security_log.SecurityLog(Path(sys.argv[1]), sys.argv[2])\n"
        "for n in range(300): log.write(security_log.SecurityEvent.ADMIN_REQUEST, number=n)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("a", "b")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    found = [(x["process"], x["number"]) for f in path.parent.iterdir() for x in lines(f)]
    assert sorted(found) == [(name, n) for name in ("a", "b") for n in range(300)]


def test_a67_what_the_file_cannot_take_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_bytes(b"a file where the folder should be")
    SecurityLog(tmp_path / "logs" / "security.log", "api").write(SecurityEvent.ADMIN_REQUEST)
    SecurityLog(None, "api").write(SecurityEvent.ADMIN_REQUEST)
    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in written] == ["admin.request"] * 2


def test_a67_operator_commands_are_recorded_with_their_outcome(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LUTHIER_HOME": str(tmp_path / "home"),
        "DATABASE_URL": "postgres://127.0.0.1:1/x",
    }
    for arguments in (
        ["keys", "revoke", "key_1"],
        ["data", "check", "/nowhere"],
        ["keys", "--help"],
    ):
        subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            env=environment,
            capture_output=True,
            check=False,
        )
    (line,) = lines(tmp_path / "home" / "logs" / "security.log")
    assert (line["event"], line["command"]) == ("operator.command", "keys revoke key_1")
    assert line["exit_code"] == 1
    assert line["user"]
