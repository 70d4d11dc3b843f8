"""The run folder: one process reads what the other writes."""

import os
from pathlib import Path

import pytest

from app.manifests import MANIFEST_FILE, ManifestEntry, file_sha256, read_manifest
from worker.run_folder import (
    CheckpointWritten,
    Event,
    Failed,
    Metrics,
    RunFolder,
    RunSpec,
    Started,
    UnsafeFile,
    atomic_write,
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
    checkpoint_folder = folder.checkpoint(step)
    checkpoint_folder.mkdir(parents=True)
    (checkpoint_folder / "weights").write_bytes(b"12345")
    return checkpoint_folder


def test_the_spec_survives_a_round_trip(folder: RunFolder) -> None:
    folder.write_spec(SPEC)
    assert folder.read_spec() == SPEC


class TestEvents:
    def test_events_are_read_in_order(self, folder: RunFolder) -> None:
        for event in EVENTS:
            folder.append_event(event)
        assert [event for event, _ in folder.read_events()] == EVENTS

    def test_reading_continues_from_an_offset(self, folder: RunFolder) -> None:
        folder.append_event(EVENTS[0])
        ((_, offset),) = folder.read_events()
        assert list(folder.read_events(offset)) == []
        folder.append_event(EVENTS[1])
        assert [event for event, _ in folder.read_events(offset)] == [EVENTS[1]]

    def test_an_incomplete_line_is_left_for_later(self, folder: RunFolder) -> None:
        folder.append_event(EVENTS[0])
        whole = folder.events.read_bytes()
        folder.events.write_bytes(whole[:-5])
        assert list(folder.read_events()) == []
        folder.events.write_bytes(whole)
        assert [event for event, _ in folder.read_events()] == [EVENTS[0]]

    def test_a_missing_file_has_no_events(self, folder: RunFolder) -> None:
        assert list(folder.read_events()) == []


class TestCheckpoints:
    def test_only_complete_checkpoints_count_latest_first(self, folder: RunFolder) -> None:
        for step in (3, 12, 9):
            write_manifest(checkpoint(folder, step))
        checkpoint(folder, 15)
        assert folder.list_checkpoint_steps() == [12, 9, 3]

    def test_the_manifest_lists_sizes_and_checksums(self, folder: RunFolder) -> None:
        checkpoint_folder = checkpoint(folder, 3)
        write_manifest(checkpoint_folder)
        manifest = read_manifest((checkpoint_folder / MANIFEST_FILE).read_bytes())
        assert manifest == {"weights": ManifestEntry(5, file_sha256(checkpoint_folder / "weights"))}


def test_an_atomic_write_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        atomic_write(tmp_path / "file", data)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"second"


class TestA68CheckpointFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> RunFolder:
        folder = RunFolder(tmp_path / "run")
        folder.checkpoint(3).mkdir(parents=True)
        (tmp_path / "secret").write_text("secret")
        return folder

    def test_a_file_stays_the_same_while_it_is_read(self, folder: RunFolder) -> None:
        file = folder.checkpoint(3) / "weights"
        file.write_text("weights")
        with folder.open_checkpoint_file(3, "weights") as path:
            file.unlink()
            file.symlink_to(folder.path.parent / "secret")
            assert path.read_text() == "weights"

    @pytest.mark.parametrize("name", ["../../../secret", "/etc/passwd", ".."])
    def test_other_names_are_rejected(self, folder: RunFolder, name: str) -> None:
        with pytest.raises(UnsafeFile), folder.open_checkpoint_file(3, name):
            pass

    def test_links_and_pipes_are_rejected(self, folder: RunFolder) -> None:
        (folder.checkpoint(3) / "link").symlink_to(folder.path.parent / "secret")
        os.mkfifo(folder.checkpoint(3) / "pipe")
        folder.checkpoint(4).symlink_to(folder.path.parent)
        with pytest.raises(OSError, match="symbolic links"), folder.open_checkpoint_file(3, "link"):
            pass
        with pytest.raises(UnsafeFile, match="regular"), folder.open_checkpoint_file(3, "pipe"):
            pass
        with pytest.raises(OSError, match="directory"), folder.open_checkpoint_file(4, "secret"):
            pass
