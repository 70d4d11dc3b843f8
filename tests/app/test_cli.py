"""Output and exit codes of the `luthier` commands."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from sqlalchemy import create_engine, make_url, text

from app.auth import principals
from app.auth import secrets as credentials
from app.cli import main
from app.db.session import SessionMaker, one_off_transaction, transaction
from app.db.tables import Project
from app.operations.schemas import Readiness
from app.organization import projects
from app.settings import Settings
from tests.factories import make_project
from tests.ports import UNUSED_ADDRESS, free_port

ROOT = Path(__file__).resolve().parents[2]


class Result(NamedTuple):
    stdout: str
    stderr: str
    returncode: object


Luthier = Callable[..., Result]
VALID_ROW = (
    '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
)


@pytest.fixture
def luthier(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Luthier:
    """Run one command with the test's settings and changes to the environment."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    variables = {
        "LUTHIER_HOME": str(settings.home),
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "LUTHIER_MODELS_FILE": str(ROOT / "models.toml"),
        # A compiler is tried otherwise, for each command.
        "LUTHIER_NATIVE_KERNELS": "false",
        "PORT": str(free_port()),
    }

    def run(*arguments: str, **environment: str) -> Result:
        with monkeypatch.context() as patch:
            for name, value in (variables | environment).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as exited:
                main(arguments)
        out, err = capsys.readouterr()
        return Result(out, err, exited.value.code)

    return run


NOT_RUNNING = "BAD  service: it is not running; start it with `make up` or `luthier up`"


def bad_lines(result: Result) -> list[str]:
    """The problems that doctor found, except that the service is not running."""
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    return [line for line in lines if not line.startswith("ok ") and line != NOT_RUNNING]


@contextmanager
def run_ready_service() -> Iterator[int]:
    """Serve /readyz as a healthy service does; yields the port."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(Readiness(status="ok", checks={}).model_dump_json().encode())

        def log_message(self, *_: object) -> None:
            """Log nothing: it would mix with the command's output."""

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def run_engine(*, serves: str) -> Iterator[str]:
    """Answer each GET with the list of an engine's models; yields the URL."""

    class Models(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            models = [{"id": serves, "owned_by": "vllm"}]
            self.wfile.write(json.dumps({"object": "list", "data": models}).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing: it would mix with the command's output."""

    with HTTPServer(("127.0.0.1", 0), Models) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestDoctor:
    def test_a_healthy_machine(self, luthier: Luthier) -> None:
        result = luthier("doctor")
        assert bad_lines(result) == []
        for part in ("Python", "LUTHIER_HOME", "port", "catalog", "database", "broker"):
            assert f"ok   {part}: " in result.stdout

    def test_a_stopped_service(self, luthier: Luthier) -> None:
        result = luthier("doctor")
        assert result.stdout.splitlines()[-1] == NOT_RUNNING
        assert result.returncode == 1

    def test_a_running_service(self, luthier: Luthier) -> None:
        with run_ready_service() as port:
            result = luthier("doctor", PORT=str(port))
        assert f"ok   service: answers at http://127.0.0.1:{port}" in result.stdout
        assert f"ok   port: {port} is Luthier's own" in result.stdout
        assert result.returncode == 0

    def test_embedded_servers_that_are_not_running(self, luthier: Luthier) -> None:
        result = luthier("doctor", DATABASE_URL="", REDIS_URL="")
        assert bad_lines(result) == []
        assert "database: embedded Postgres, started by `luthier up`" in result.stdout
        assert "broker: embedded Valkey, started by `luthier up`" in result.stdout

    def test_an_invalid_setting(self, luthier: Luthier) -> None:
        result = luthier("doctor", PORT="eighty")
        assert result.returncode == 1
        assert bad_lines(result) == [
            "BAD  settings: PORT=eighty cannot be used: "
            "Input should be a valid integer, unable to parse string as an integer"
        ]

    def test_a_port_in_use_is_shown_with_its_process(self, luthier: Luthier) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            result = luthier("doctor", PORT=str(port))
        assert result.returncode == 1
        (line,) = bad_lines(result)
        assert line.startswith(f"BAD  port: {port} is taken by ")
        assert f"(process {os.getpid()}); choose another with PORT" in line

    def test_a_home_that_is_not_writable(self, luthier: Luthier, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        result = luthier("doctor", LUTHIER_HOME=str(tmp_path / "file" / "home"))
        assert result.returncode == 1
        (line,) = bad_lines(result)
        assert line.startswith("BAD  LUTHIER_HOME: ")
        assert "cannot be written to" in line

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
    def test_a_full_disk(self, luthier: Luthier, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
        if subprocess.run(mount, check=False).returncode != 0:
            pytest.skip("this machine does not allow mounts")
        try:
            result = luthier("doctor", LUTHIER_HOME=str(disk))
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        assert result.returncode == 1
        full = (
            f"BAD  LUTHIER_HOME: the disk of {disk} is full (8 MiB free), and uploads are refused"
        )
        assert full in result.stdout

    def test_an_unreachable_database(self, luthier: Luthier) -> None:
        url = f"postgresql://nobody@{UNUSED_ADDRESS}/none"
        result = luthier("doctor", DATABASE_URL=url)
        assert result.returncode == 1
        (line,) = bad_lines(result)
        assert line.startswith("BAD  database: cannot be reached; see DATABASE_URL: ")
        assert "Connection refused" in line

    def test_an_unreachable_broker(self, luthier: Luthier) -> None:
        result = luthier("doctor", REDIS_URL=f"redis://{UNUSED_ADDRESS}/0")
        assert result.returncode == 1
        (line,) = bad_lines(result)
        assert line.startswith("BAD  broker: The broker cannot be reached: ")
        assert line.endswith("; see REDIS_URL")

    def test_an_unreachable_bucket(self, luthier: Luthier) -> None:
        result = luthier(
            "doctor",
            S3_BUCKET="nobody-has-this",
            S3_ENDPOINT_URL=f"http://{UNUSED_ADDRESS}",
            S3_ACCESS_KEY_ID="x",
            S3_SECRET_ACCESS_KEY="y",
        )
        assert result.returncode == 1
        (line,) = bad_lines(result)
        assert line.startswith("BAD  storage: ")

    def test_an_invalid_catalog(self, luthier: Luthier, tmp_path: Path) -> None:
        models = tmp_path / "models.toml"
        models.write_text("[[model]\n")
        result = luthier("doctor", LUTHIER_MODELS_FILE=str(models))
        assert result.returncode == 1
        (line,) = bad_lines(result)
        assert line.startswith(f"BAD  catalog: {models} is not valid TOML: ")

    def test_missing_model_sources(self, luthier: Luthier, tmp_path: Path) -> None:
        models = tmp_path / "models.toml"
        entry = (
            '[[model]]\nid = "{}"\nsource = "{}"\nkind = "causal"\nmethods = []\n'
            "context_length = 64\n"
        )
        sources = {
            "no-package": "package:luthier-has-no-such-package/model.gguf",
            "no-file": "package:pytest/model.gguf",
            "no-folder": f"path:{tmp_path}/nothing",
            "far-away": f"hf:owner/name@{'0' * 40}",
        }
        models.write_text("".join(entry.format(*pair) for pair in sources.items()))
        result = luthier("doctor", LUTHIER_MODELS_FILE=str(models))
        assert result.returncode == 1
        first, second, third = bad_lines(result)
        assert "BAD  no-package: its source" in first
        assert "the package luthier-has-no-such-package is not installed" in first
        assert second.endswith("is missing: the package pytest has no model.gguf")
        assert third.endswith(f"is missing: there is no config.json in {tmp_path}/nothing")

    def test_engines_of_the_catalog(self, luthier: Luthier, tmp_path: Path) -> None:
        models = tmp_path / "models.toml"
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "config.json").touch()
        entry = (
            '[[model]]\nid = "{}"\nsource = "path:{}"\nkind = "causal"\nmethods = []\n'
            "context_length = 64\nengine = {}\n"
        )
        with run_engine(serves="mine") as url:
            engines = {
                "mine": f'"{url}"',
                "theirs": f'["{url}"]\nengine_options.model = "absent"',
                "away": f'"http://{UNUSED_ADDRESS}"',
                "managed": f'"sglang"\nengine_options.python = "{sys.executable}"',
            }
            models.write_text("".join(entry.format(n, folder, e) for n, e in engines.items()))
            result = luthier("doctor", LUTHIER_MODELS_FILE=str(models))
        assert f"ok   engine of mine: {url} answers, and serves the model" in result.stdout
        managed, theirs, away = bad_lines(result)
        assert managed.startswith(f"BAD  engine of managed: {sys.executable} cannot start it: ")
        assert "there is no package sglang" in managed
        assert theirs == f"BAD  engine of theirs: {url} serves no absent: mine"
        assert away.startswith(f"BAD  engine of away: http://{UNUSED_ADDRESS} cannot be reached: ")

    def test_native_kernels_that_are_switched_off(self, luthier: Luthier) -> None:
        result = luthier("doctor")
        assert "native kernels: switched off by LUTHIER_NATIVE_KERNELS" in result.stdout

    def test_broken_compilers(self, luthier: Luthier, tmp_path: Path) -> None:
        compiler = tmp_path / "cc"
        compiler.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
        compiler.chmod(0o700)
        result = luthier("doctor", PATH=str(tmp_path), LUTHIER_NATIVE_KERNELS="true")
        (line,) = [line for line in result.stdout.splitlines() if "native kernels" in line]
        # The package `ziglang` is tried after those on PATH.
        assert ("-m ziglang cc" if find_spec("ziglang") else f"{compiler} failed: broken") in line


class TestDataCheck:
    def test_a_valid_file(self, luthier: Luthier, tmp_path: Path) -> None:
        file = tmp_path / "train.jsonl"
        file.write_text(VALID_ROW * 12)
        result = luthier("data", "check", str(file))
        assert result.stdout == "Good: 12 examples (chat format).\n"
        assert result.returncode == 0

    def test_labels_are_counted_with_warnings(self, luthier: Luthier, tmp_path: Path) -> None:
        file = tmp_path / "train.jsonl"
        rows = [("a", "good"), ("b", "bad"), ("c", "good"), ("a", "good")]
        file.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows))
        _, _, _, labels, duplicates, rare = luthier("data", "check", str(file)).stdout.splitlines()
        assert labels == '2 label(s): "good" 3, "bad" 1.'
        assert duplicates.startswith("1 example(s) are duplicates, first in line 4")
        assert rare == 'Labels with a single example, too few to learn: "bad" (line 2).'

    def test_an_invalid_line_is_shown(self, luthier: Luthier, tmp_path: Path) -> None:
        file = tmp_path / "train.jsonl"
        file.write_text(f"{VALID_ROW}not json\n{VALID_ROW}")
        for options in ((), ("--all",)):
            result = luthier("data", "check", str(file), *options)
            assert result.returncode == 1
            assert result.stdout.startswith("1 of 3 examples cannot be used (chat format).\n")
            assert f"\nline 2, byte {len(VALID_ROW)}: Example 2 cannot be parsed." in result.stdout

    def test_a_missing_file(self, luthier: Luthier, tmp_path: Path) -> None:
        result = luthier("data", "check", str(tmp_path / "nothing"))
        assert result.returncode == 1
        assert result.stderr == f"{tmp_path}/nothing cannot be read: No such file or directory\n"

    @pytest.mark.parametrize("name", ["train", "valid"])
    def test_the_shipped_examples_are_valid(self, luthier: Luthier, name: str) -> None:
        result = luthier("data", "check", str(ROOT / f"examples/workshop.{name}.jsonl"))
        assert result.returncode == 0, result.stdout


@pytest.fixture
def empty_database(database_url: str) -> Iterator[str]:
    """URL of an empty database."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE fresh"))
    fresh = url.set(database="fresh", drivername="postgresql")
    yield fresh.render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE fresh WITH (FORCE)"))
    server.dispose()


def test_migrate_brings_an_empty_database_to_the_newest_schema(
    luthier: Luthier, empty_database: str
) -> None:
    for _ in range(2):
        result = luthier("migrate", DATABASE_URL=empty_database)
        assert result.stdout == "The schema is up to date.\n", result.stderr
    with one_off_transaction(empty_database) as session:
        assert session.execute(text("SELECT count(*) FROM jobs")).scalar() == 0


def test_migrate_expand_rejects_an_upgrade_that_needs_downtime(
    luthier: Luthier, empty_database: str
) -> None:
    assert luthier("migrate", DATABASE_URL=empty_database).returncode == 0
    with one_off_transaction(empty_database) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0015'"))
    result = luthier("migrate", "--expand", DATABASE_URL=empty_database)
    assert result.returncode == 1
    assert "This upgrade needs downtime" in result.stderr
    assert "Stop all processes of the previous version" in result.stderr


@pytest.mark.usefixtures("sessions")
def test_a_key_is_shown_once_and_works(luthier: Luthier, settings: Settings) -> None:
    result = luthier("keys", "create", "--name", "laptop")
    secret = result.stdout.strip()
    assert settings.database_url is not None
    with one_off_transaction(settings.database_url) as session:
        principal = principals.authenticate_project_key(session, secret)
    assert principal is not None
    assert principal.organization_slug == settings.organization_slug


@pytest.mark.usefixtures("sessions")
def test_keys_are_listed_and_revoked(luthier: Luthier, settings: Settings) -> None:
    assert luthier("keys", "list").stdout == ""
    secrets = {
        name: luthier("keys", "create", "--name", name).stdout.strip() for name in ("old", "new")
    }
    old, new = luthier("keys", "list").stdout.splitlines()
    key_id, name, redacted, _, created, used = old.split("  ")
    assert (name, redacted, used) == ("old", credentials.redact(secrets["old"]), "last used never")
    assert created.startswith("created 20")
    assert created.endswith(" UTC")
    assert "  new  " in new

    result = luthier("keys", "revoke", key_id)
    assert result.stdout == f"Revoked {key_id} (old, {redacted}).\n", result.stderr
    assert settings.database_url is not None
    with one_off_transaction(settings.database_url) as session:
        assert principals.authenticate_project_key(session, secrets["old"]) is None
        assert principals.authenticate_project_key(session, secrets["new"]) is not None
    old, new = luthier("keys", "list").stdout.splitlines()
    assert old.split("  ")[-1].startswith("revoked 20")
    assert "last used 20" in new
    assert "revoked" not in new


@pytest.mark.usefixtures("sessions")
def test_an_unknown_key_is_not_revoked(luthier: Luthier) -> None:
    result = luthier("keys", "revoke", "key_unknown")
    assert result.stderr == "No such API key: key_unknown. See `luthier keys list`.\n"
    assert result.returncode == 1


@pytest.mark.usefixtures("sessions")
def test_admin_keys_and_keys_of_any_project(luthier: Luthier, settings: Settings) -> None:
    assert settings.database_url is not None
    secret = luthier("keys", "create", "--admin", "--name", "ops").stdout.strip()
    with one_off_transaction(settings.database_url) as session:
        admin = principals.authenticate_admin_key(session, secret)
        assert admin is not None
        project = projects.create(session, admin.organization_id, "research")
    project_secret = luthier("keys", "create", "--project", project.id).stdout.strip()
    with one_off_transaction(settings.database_url) as session:
        principal = principals.authenticate_project_key(session, project_secret)
    assert principal is not None
    assert principal.project_id == project.id
    first, second = luthier("keys", "list").stdout.splitlines()
    assert first.split("  ")[3] == project.id
    assert second.split("  ")[:4] == [admin.key_id, "ops", credentials.redact(secret), "admin"]
    assert luthier("keys", "revoke", admin.key_id).returncode == 0
    with one_off_transaction(settings.database_url) as session:
        assert principals.authenticate_admin_key(session, secret) is None
    unknown = luthier("keys", "create", "--project", "proj_unknown")
    assert (unknown.returncode, unknown.stderr) == (1, "No such project: proj_unknown\n")


@pytest.mark.usefixtures("sessions")
def test_models_lists_the_catalog(luthier: Luthier) -> None:
    result = luthier("models")
    assert result.returncode == 0, result.stderr
    assert "smollm2-135m-instruct  causal, methods: supervised" in result.stdout


def test_limits_of_a_project_can_be_set(luthier: Luthier, sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        project = make_project(session)
    result = luthier("limits", project.id)
    assert result.stdout == (
        f"{project.id}: default running, default queued, default bytes, default files, "
        "default uploads\n"
    )
    quotas = ("--running", "2", "--queued", "0", "--storage", "9", "--files", "8", "--uploads", "7")
    result = luthier("limits", project.id, *quotas)
    assert result.stdout == (
        f"{project.id}: 2 running, unlimited queued, 9 bytes, 8 files, 7 uploads\n"
    )
    with transaction(sessions) as session:
        saved = session.get_one(Project, project.id)
        assert (saved.max_running_jobs, saved.max_queued_jobs) == (2, 0)
    result = luthier("limits", "proj_unknown")
    assert (result.stderr, result.returncode) == ("No such project: proj_unknown.\n", 1)


@pytest.mark.parametrize("command", [["keys", "create"], ["migrate"], ["up"]])
def test_an_unreachable_database_has_an_error_message(command: list[str], tmp_path: Path) -> None:
    """In a process of its own: an exit code for scripts, and no traceback."""
    url = f"postgresql://x@{UNUSED_ADDRESS}/x"
    result = subprocess.run(
        [sys.executable, "-m", "app.cli", *command],
        cwd=ROOT,
        env=os.environ
        | {"DATABASE_URL": url, "LUTHIER_HOME": str(tmp_path), "PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("The database cannot be used; see DATABASE_URL. ")
    assert "Connection refused" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_home_is_private(luthier: Luthier, settings: Settings) -> None:
    luthier("doctor")
    assert not settings.home.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)


@pytest.mark.parametrize("command", [["up"], ["doctor"], ["migrate"]])
@pytest.mark.parametrize(
    ("name", "value"), [("DATABASE_URL", "banana"), ("REDIS_URL", "localhost:6379")]
)
def test_an_invalid_url_is_named(
    luthier: Luthier, command: list[str], name: str, value: str
) -> None:
    result = luthier(*command, **{name: value})
    assert result.returncode == 1
    assert name.lower() in (result.stderr + result.stdout).lower()


@pytest.mark.parametrize("command", ["up", "doctor"])
def test_a_command_in_another_folder_names_the_folder_to_run_it_in(
    luthier: Luthier, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = luthier(command, LUTHIER_MODELS_FILE="")
    assert result.returncode == 1
    sentence = f"does not exist; run the command in {ROOT}, or set LUTHIER_MODELS_FILE"
    assert f"{tmp_path / 'models.toml'} {sentence}" in result.stdout + result.stderr


def test_up_needs_a_catalog(luthier: Luthier) -> None:
    result = luthier("up", LUTHIER_MODELS_FILE="/nope.toml")
    assert result.returncode == 1
    assert result.stderr.strip() == "/nope.toml does not exist; set LUTHIER_MODELS_FILE"
