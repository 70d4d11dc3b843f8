"""The run folder: what one process writes, the other reads."""

from pathlib import Path

import pytest

from worker.rundir import (
    MANIFEST_FILE,
    CheckpointWritten,
    Event,
    Failed,
    ManifestEntry,
    Metrics,
    RunFolder,
    RunSpec,
    Started,
    atomic_write,
    file_sha256,
    read_manifest,
    write_manifest,
)

SPEC = RunSpec(
    job_id="ftjob-1",
    attempt=2,
    model={"id": "tiny", "methods": ["supervised"]},
    model_cache="/cache",
    method="supervised",
    hyperparameters={"n_epochs": "auto", "batch_size": 4},
    seed=7,
    base_model="tiny",
    micro_batch=2,
)
EVENTS: list[Event] = [
    Started(hyperparameters={"n_epochs": 3}, total_steps=9, from_step=0, trained_tokens=100),
    Metrics(step=1, values={"train_loss": 0.5}, seconds=1.5, tokens=33),
    CheckpointWritten(step=3, servable=True, values={"train_loss": 0.25}),
    Failed(code="out_of_memory", message="Größer, bitte.", param=None),
]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def checkpoint(folder: RunFolder, step: int) -> Path:
    place = folder.checkpoint(step)
    place.mkdir(parents=True)
    (place / "weights").write_bytes(b"12345")
    return place


def test_the_spec_comes_back_as_it_was(folder: RunFolder) -> None:
    folder.write_spec(SPEC)
    assert folder.read_spec() == SPEC


class TestEvents:
    def test_they_come_back_in_order(self, folder: RunFolder) -> None:
        for event in EVENTS:
            folder.append_event(event)
        assert [event for event, _ in folder.read_events()] == EVENTS

    def test_reading_goes_on_where_it_ended(self, folder: RunFolder) -> None:
        folder.append_event(EVENTS[0])
        ((_, offset),) = folder.read_events()
        assert list(folder.read_events(offset)) == []
        folder.append_event(EVENTS[1])
        assert [event for event, _ in folder.read_events(offset)] == [EVENTS[1]]

    def test_half_a_line_waits_for_its_other_half(self, folder: RunFolder) -> None:
        folder.append_event(EVENTS[0])
        whole = folder.events.read_bytes()
        folder.events.write_bytes(whole[:-5])
        assert list(folder.read_events()) == []
        folder.events.write_bytes(whole)
        assert [event for event, _ in folder.read_events()] == [EVENTS[0]]

    def test_before_the_first_there_are_none(self, folder: RunFolder) -> None:
        assert list(folder.read_events()) == []


class TestCheckpoints:
    def test_only_whole_ones_count_newest_first(self, folder: RunFolder) -> None:
        for step in (3, 12, 9):
            write_manifest(checkpoint(folder, step))
        checkpoint(folder, 15)
        assert folder.list_checkpoint_steps() == [12, 9, 3]

    def test_the_manifest_lists_sizes_and_sums(self, folder: RunFolder) -> None:
        place = checkpoint(folder, 3)
        write_manifest(place)
        listed = read_manifest((place / MANIFEST_FILE).read_bytes())
        assert listed == {"weights": ManifestEntry(5, file_sha256(place / "weights"))}


def test_writing_whole_replaces_and_leaves_nothing_aside(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        atomic_write(tmp_path / "file", data)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"second"
