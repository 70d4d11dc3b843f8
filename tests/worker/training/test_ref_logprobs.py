"""Reference log-probabilities are computed once, whatever interrupts the computation."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from worker.run_folder import CheckpointWritten, Preparing, RunFolder
from worker.training.checkpoint import Checkpointer
from worker.training.environment import StopSignal
from worker.training.ref_logprobs import RefLogprobs, RefLogprobsPrecomputer

ROWS = 150
# Rows in the order of their first use, in batches of 50.
ORDER = [row * 7 % ROWS for row in range(ROWS)]
BATCHES = [ORDER[start : start + 50] for start in range(0, ROWS, 50)]


class Weights:
    """Weights of a model with a single number."""

    def __init__(self) -> None:
        self.number = nn.Parameter(torch.ones(1))

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"number": self.number}

    def save(self, folder: Path) -> None:
        (folder / "number").write_text(str(self.number.item()))

    def load(self, folder: Path) -> None:
        self.number.data.fill_(float((folder / "number").read_text()))


class Model:
    """Returns n and -n as the log-probabilities of row n; requests a stop at row `stop_at`."""

    def __init__(self, folder: RunFolder, stop_at: int | None = None) -> None:
        self.computed: list[int] = []
        self._folder = folder
        self._stop_at = stop_at

    def split(self, rows: Sequence[int]) -> Iterable[Sequence[int]]:
        return [rows[:20], rows[20:]]

    def num_tokens(self, rows: Sequence[int]) -> int:
        return len(rows)

    def logprobs(self, rows: Sequence[int]) -> torch.Tensor:
        self.computed += rows
        if self._stop_at in rows:
            self._folder.stop_file.touch()
        return torch.tensor([[float(row), -float(row)] for row in rows])


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def prepare(
    folder: RunFolder, model: Model, *, seconds_per_call: float = 0.0
) -> tuple[RefLogprobs[int], bool]:
    ref_logprobs = RefLogprobs(range(ROWS))
    optimizer = torch.optim.AdamW([Weights().number])
    checkpoints = Checkpointer(folder, Weights(), optimizer, {}, extra_files=ref_logprobs.to_files)
    times = iter(n * seconds_per_call for n in range(10**6))
    run = RefLogprobsPrecomputer(
        ref_logprobs,
        BATCHES,
        model,
        folder,
        checkpoints,
        StopSignal(folder),
        clock=lambda: next(times),
    )
    return ref_logprobs, run.run()


def test_each_row_is_computed_once_and_a_short_computation_is_not_saved(folder: RunFolder) -> None:
    model = Model(folder)
    ref_logprobs, is_complete = prepare(folder, model)
    assert is_complete
    assert model.computed == ORDER
    assert ref_logprobs.get([7, 149, 0]).tolist() == [[7, -7], [149, -149], [0, 0]]
    assert not folder.events.exists(), "the computation took no time"
    assert folder.list_checkpoint_steps() == []


def test_a_stop_saves_complete_parts_and_the_next_attempt_continues_after_them(
    folder: RunFolder,
) -> None:
    _, is_complete = prepare(folder, Model(folder, stop_at=ORDER[60]))
    assert not is_complete
    assert folder.list_checkpoint_steps() == [0]
    (written,) = [event for event, _ in folder.read_events()]
    assert written == CheckpointWritten(step=0, servable=False)
    folder.stop_file.unlink()
    model = Model(folder)
    ref_logprobs, is_complete = prepare(folder, model)
    assert is_complete
    assert model.computed == ORDER[70:], "the micro-batch in which the stop came was completed"
    assert ref_logprobs.get([1, 149]).tolist() == [[1, -1], [149, -149]]


def test_values_of_an_earlier_version_are_of_the_first_rows(tmp_path: Path) -> None:
    save_file({"log_probabilities": torch.ones(64, 2)}, tmp_path / "reference.safetensors")
    ref_logprobs = RefLogprobs(range(ROWS))
    ref_logprobs.load(tmp_path)
    assert ref_logprobs.num_computed == 64
    assert ref_logprobs.has([0, 63])
    assert not ref_logprobs.has([63, 64])


def test_a_long_computation_reports_progress_and_is_saved(folder: RunFolder) -> None:
    prepare(folder, Model(folder), seconds_per_call=15.0)
    *progress, last = [event for event, _ in folder.read_events()]
    assert last == CheckpointWritten(step=0, servable=False)
    assert progress
    assert all(isinstance(event, Preparing) and event.total == ROWS for event in progress)
    again = Model(folder)
    _, is_complete = prepare(folder, again)
    assert is_complete
    assert again.computed == []
