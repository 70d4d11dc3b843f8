"""What comparisons with the engine have shown of kinds of adapters, kept for later jobs."""

from pathlib import Path

from app.settings import Settings
from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.run_folder import EngineCompared
from worker.supervisor import compared_adapters

KIND = "a" * 64


def compared(kind: str, strength: float) -> EngineCompared:
    return EngineCompared(report={}, adapter_kind=kind, strength=strength)


def make_settings(home: Path) -> Settings:
    (home / "cache").mkdir()
    return Settings(home=home)


def test_the_strongest_of_each_kind_is_kept(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert compared_adapters.load(settings) == {}
    for strength in (2.0, 3.0, 1.0):
        compared_adapters.record(settings, compared(KIND, strength))
    compared_adapters.record(settings, compared("b" * 64, 0.5))
    assert compared_adapters.load(settings) == {KIND: 3.0, "b" * 64: 0.5}


def test_what_is_no_comparison_is_not_kept(tmp_path: Path) -> None:
    """Of a model that differs or of another version, or written by whoever it was."""
    settings = make_settings(tmp_path)
    for kind, strength in (("", 0.0), ("../a", 1.0), (KIND, float("nan")), (KIND, float("inf"))):
        compared_adapters.record(settings, compared(kind, strength))
    assert compared_adapters.load(settings) == {}
    (tmp_path / "cache" / "compared.json").write_text("[")
    assert compared_adapters.load(settings) == {}
    compared_adapters.record(settings, compared(KIND, 1.0))
    assert compared_adapters.load(settings) == {KIND: 1.0}


def test_old_kinds_make_room(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    kinds = [f"{number:064x}" for number in range(compared_adapters.MAX_KINDS + 2)]
    for kind in kinds:
        compared_adapters.record(settings, compared(kind, 1.0))
    assert list(compared_adapters.load(settings)) == kinds[2:]


def test_a_jobs_comparison_is_told_to_the_next_job(trainer: TrainerFixture) -> None:
    trainer.create_job(steps=2)
    assert trainer.runner.run_next()
    assert compared_adapters.load(trainer.context.settings) == {}
    trainer.create_job(steps=2, kind=KIND, strength=2.5)
    assert trainer.runner.run_next()
    assert compared_adapters.load(trainer.context.settings) == {KIND: 2.5}
    job_id = trainer.create_job(steps=2, known={KIND: 2.5})
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "succeeded"
