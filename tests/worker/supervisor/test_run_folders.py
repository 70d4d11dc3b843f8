"""Run folders: the threads of training processes."""

import os

import pytest

from worker.supervisor.run_folders import divide_cores


@pytest.mark.parametrize(
    ("cores", "jobs", "threads"), [(8, 1, 8), (8, 3, 2), (2, 4, 1), (None, 2, 1)]
)
def test_jobs_of_one_trainer_divide_its_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, jobs: int, threads: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert divide_cores(jobs) == threads
