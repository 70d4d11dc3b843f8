"""What the starting model says is computed once, whatever interrupts it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from worker.rundir import CheckpointWritten, Preparing, RunFolder
from worker.training.checkpoint import Checkpointer
from worker.training.environment import StopSignal
from worker.training.ref_logprobs import RefLogprobs, RefLogprobsPrecomputer

ROWS = 150


class Weights:
    """Of a model that has one number."""

    def __init__(self) -> None:
        self.number = nn.Parameter(torch.ones(1))

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"number": self.number}

    def save(self, folder: Path) -> None:
        (folder / "number").write_text(str(self.number.item()))

    def load(self, folder: Path) -> None:
        self.number.data.fill_(float((folder / "number").read_text()))


class Model:
    """Says of row n that its answers are worth n and -n; asks to stop when it comes to a row."""

    def __init__(self, folder: RunFolder, stop_at: int | None = None) -> None:
        self.asked: list[int] = []
        self._folder = folder
        self._stop_at = stop_at

    def split(self, rows: Sequence[int]) -> Iterable[Sequence[int]]:
        return [rows[:20], rows[20:]]

    def logprobs(self, rows: Sequence[int]) -> torch.Tensor:
        self.asked += rows
        if self._stop_at in rows:
            self._folder.stop_file.touch()
        return torch.tensor([[float(row), -float(row)] for row in rows])


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def prepare(
    folder: RunFolder, model: Model, *, second_takes: float = 0.0
) -> tuple[RefLogprobs[int], bool]:
    reference = RefLogprobs(range(ROWS))
    optimizer = torch.optim.AdamW([Weights().number])
    checkpoints = Checkpointer(folder, Weights(), optimizer, {}, extra_files=reference.to_files)
    times = iter(n * second_takes for n in range(10**6))
    run = RefLogprobsPrecomputer(
        reference, model, folder, checkpoints, StopSignal(folder), clock=lambda: next(times)
    )
    return reference, run.run()


def test_all_rows_are_asked_for_once_and_little_is_written(folder: RunFolder) -> None:
    model = Model(folder)
    reference, whole = prepare(folder, model)
    assert whole
    assert model.asked == list(range(ROWS))
    assert reference.get([7, 149, 0]).tolist() == [[7, -7], [149, -149], [0, 0]]
    assert not folder.events.exists(), "it took no time"
    assert folder.list_checkpoint_steps() == []


def test_a_stop_keeps_whole_chunks_and_the_next_attempt_goes_on_behind_them(
    folder: RunFolder,
) -> None:
    _, whole = prepare(folder, Model(folder, stop_at=70))
    assert not whole
    assert folder.list_checkpoint_steps() == [0]
    (written,) = [event for event, _ in folder.read_events()]
    assert written == CheckpointWritten(step=0, servable=False)
    folder.stop_file.unlink()
    model = Model(folder)
    reference, whole = prepare(folder, model)
    assert whole
    assert model.asked == list(range(64, ROWS)), "the chunk it was stopped in is done again"
    assert reference.get([1, 149]).tolist() == [[1, -1], [149, -149]]


def test_a_long_one_shows_that_it_lives_and_is_kept(folder: RunFolder) -> None:
    prepare(folder, Model(folder), second_takes=15.0)
    *signs, last = [event for event, _ in folder.read_events()]
    assert last == CheckpointWritten(step=0, servable=False)
    assert signs
    assert all(isinstance(sign, Preparing) and sign.total == ROWS for sign in signs)
    again = Model(folder)
    _, whole = prepare(folder, again)
    assert whole
    assert again.asked == []
