"""Rendered rows of a job stay on the machine until it ends, and reach no other job."""

import os
import shutil
from pathlib import Path

import pytest

from app.settings import Settings
from tests.worker.supervisor.fake_trainer import TrainerFixture, clear_retry_delay
from worker.run_folder import RunFolder
from worker.supervisor import kept_rows

NAME = kept_rows.FILES[0]


def get_kept(settings: Settings, job_id: str) -> Path:
    return kept_rows.get_rows_folder(settings) / job_id / NAME


def make_folder(settings: Settings, job_id: str, content: bytes = b"rows") -> RunFolder:
    folder = RunFolder(settings.home / "runs" / f"{job_id}-attempt-1")
    folder.rows.mkdir(parents=True)
    (folder.rows / NAME).write_bytes(content)
    return folder


def test_each_attempt_at_a_job_has_the_rows_of_the_one_before(trainer: TrainerFixture) -> None:
    settings = trainer.context.settings
    job_id = trainer.create_job(steps=2, fault="kill", at_step=1, until_attempt=2)
    for expected in ("1 ", "1 2 "):
        assert trainer.runner.run_next()
        trainer.runner.clean_up()
        assert get_kept(settings, job_id).read_text() == expected
        assert get_kept(settings, job_id).stat().st_mode & 0o077 == 0
        clear_retry_delay(trainer, job_id)
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "succeeded"
    trainer.runner.clean_up()
    assert kept_rows.list_jobs(settings) == []


def test_rows_of_a_killed_trainer_are_kept(trainer: TrainerFixture) -> None:
    settings = trainer.context.settings
    job_id = trainer.create_job()
    folder = make_folder(settings, job_id)
    trainer.runner.clean_up()
    assert not folder.path.exists()
    assert get_kept(settings, job_id).read_bytes() == b"rows"


def test_no_other_job_gets_them(settings: Settings) -> None:
    folder = make_folder(settings, "ftjob-A")
    kept_rows.keep(folder, "ftjob-A", settings)
    other = RunFolder(settings.home / "runs" / "ftjob-B-attempt-1")
    other.path.mkdir()
    kept_rows.restore(other, "ftjob-B", settings)
    assert list(other.rows.iterdir()) == []
    assert get_kept(settings, "ftjob-A").exists()


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "folder", "pipe"])
def test_a68_what_training_plants_instead_of_rows_is_not_kept(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    """A link would be handed over to the next attempt's user, with the file that it names."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o640)
    folder = make_folder(settings, "ftjob-A")
    path = folder.rows / NAME
    path.unlink()
    make = {
        "symbolic link": lambda: path.symlink_to(secret),
        "hard link": lambda: os.link(secret, path),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    before = secret.stat()
    kept_rows.keep(folder, "ftjob-A", settings)
    assert kept_rows.list_jobs(settings) == []
    assert (secret.stat().st_uid, secret.stat().st_mode) == (before.st_uid, before.st_mode)


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_DISK_SHARE"])
def test_the_least_recently_kept_rows_give_way(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    settings.home.mkdir()
    size = shutil.disk_usage(settings.home).total if bound == "MAX_DISK_SHARE" else 1
    monkeypatch.setattr(kept_rows, bound, 250 / size)
    for age, job_id in ((30, "ftjob-A"), (10, "ftjob-B"), (20, "ftjob-C")):
        kept_rows.keep(make_folder(settings, job_id, b"x" * 100), job_id, settings)
        folder = get_kept(settings, job_id).parent
        then = folder.stat().st_mtime - age
        os.utime(folder, (then, then))
    kept_rows.keep(make_folder(settings, "ftjob-D", b"x" * 100), "ftjob-D", settings)
    assert kept_rows.list_jobs(settings) == ["ftjob-B", "ftjob-D"]


def test_rows_of_ended_jobs_and_old_rows_are_removed(settings: Settings) -> None:
    for job_id in ("ftjob-A", "ftjob-B", "ftjob-C"):
        kept_rows.keep(make_folder(settings, job_id), job_id, settings)
    os.utime(get_kept(settings, "ftjob-B").parent, (0, 0))
    kept_rows.remove_all_but({"ftjob-A", "ftjob-B"}, settings)
    assert kept_rows.list_jobs(settings) == ["ftjob-A"]
