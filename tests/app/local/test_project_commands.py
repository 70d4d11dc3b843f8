"""`luthier projects usage`."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.cli import main
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from tests.app.test_cli import Luthier, luthier
from tests.factories import make_file, make_project

__all__ = ["luthier"]


def test_the_command(luthier: Luthier, sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        project: Project = make_project(session)
        make_file(session, project, bytes=1234)
    text = luthier("projects", "usage", project.id).stdout
    assert f"{project.id} (default of acme)" in text
    assert ["files", "1", "1,234", "bytes"] in [line.split() for line in text.splitlines()]
    result = luthier("projects", "usage", "--json")
    (found,) = json.loads(result.stdout)
    assert (found["id"], found["used_bytes"], found["used_files"]) == (project.id, 1234, 1)
    unknown = luthier("projects", "usage", "proj_unknown")
    assert (unknown.stderr, unknown.returncode) == ("No such project: proj_unknown.\n", 1)


@pytest.mark.parametrize(
    "command",
    [
        ("projects", "usage", "proj_x"),
        ("jobs", "list"),
        ("jobs", "show", "ftjob-x"),
        ("keys", "list"),
        ("sweeps", "list"),
    ],
)
def test_commands_that_read_create_no_service(
    command: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LUTHIER_HOME", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as exited:
        main(command)
    assert exited.value.code == 1
    error = capsys.readouterr().err
    assert f"There is no service at {tmp_path / '.luthier'}. Set LUTHIER_HOME" in error
    assert list(tmp_path.iterdir()) == []
