"""A69: training that the kernel kills because memory ran out."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.worker.supervisor.fake_trainer import (
    TrainerFixture,
    attempt_outcomes,
    clear_retry_delay,
    event_messages,
)
from worker.host_memory import HostMemory
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner

MEMINFO = "MemTotal:        2000000 kB\nMemFree: 1 kB\nMemAvailable:     500000 kB\n"


@pytest.fixture
def proc() -> Iterator[Path]:
    """Counters of a host with 2 GB, on which the kernel has killed a process before."""
    # Not below pytest's folder: the training process writes to them, and may be another user.
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "meminfo").write_text(MEMINFO)
        (folder / "vmstat").write_text("oom_kill 3\n")
        (folder / "vmstat").chmod(0o666)
        yield folder


@pytest.fixture
def small_trainer(context: TrainerContext, trainer: TrainerFixture, proc: Path) -> TrainerFixture:
    small = replace(context, host_memory=HostMemory(proc, proc / "cgroup"))
    return replace(trainer, context=small, runner=JobRunner(small))


class TestA69MemoryRunsOut:
    def test_fewer_examples_at_a_time_are_tried(
        self, small_trainer: TrainerFixture, proc: Path
    ) -> None:
        plan = {"fault": "oom_kill", "at_step": 1, "until_attempt": 1}
        job_id = small_trainer.create_job(steps=4, vmstat=str(proc / "vmstat"), **plan)
        small_trainer.runner.run_next()
        job = small_trainer.get_job(job_id)
        assert (job.state, job.micro_batch_size) == ("queued", 2)
        message = event_messages(small_trainer, job_id)[-1]
        assert "ran out of memory and was killed by the operating system" in message
        assert "the machine has 2.0 GB, of which 0.5 GB are free without it" in message
        assert "2 example(s) and half as many tokens at a time" in message
        small_trainer.runner.run_next()
        assert small_trainer.get_job(job_id).state == "succeeded"

    def test_a_model_that_never_fits_fails_with_the_reason(
        self, small_trainer: TrainerFixture, proc: Path
    ) -> None:
        job_id = small_trainer.create_job(fault="oom_kill", at_step=0, vmstat=str(proc / "vmstat"))
        for _ in range(3):
            small_trainer.runner.run_next()
            clear_retry_delay(small_trainer, job_id)
        job = small_trainer.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "out_of_memory")
        assert job.error_message is not None
        assert "2.0 GB" in job.error_message
        assert "Use a smaller base model" in job.error_message

    def test_other_kills_are_crashes(self, small_trainer: TrainerFixture) -> None:
        job_id = small_trainer.create_job(steps=4, fault="kill", at_step=1, until_attempt=1)
        small_trainer.runner.run_next()
        assert small_trainer.get_job(job_id).micro_batch_size is None
        assert "killed by SIGKILL" in event_messages(small_trainer, job_id)[-1]

    def test_too_little_free_memory_is_tried_again(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(steps=4, fault="out_of_host_memory", at_step=0, until_attempt=1)
        trainer.runner.run_next()
        assert trainer.get_job(job_id).state == "queued"
        trainer.runner.run_next()
        assert trainer.get_job(job_id).state == "succeeded"
        assert attempt_outcomes(trainer, job_id) == [("crashed", 14), ("done", 0)]
