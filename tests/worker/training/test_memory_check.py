"""A69: a model that does not fit into the host's memory is refused before it is loaded."""

from pathlib import Path

import pytest
import torch

from worker.host_memory import HostMemory
from worker.model.weight_counts import count_weights
from worker.run_folder import ExitCode
from worker.training.errors import TrainingError
from worker.training.memory_check import INT8_BYTES_PER_WEIGHT, PROCESS_BYTES, check_memory

CPU = torch.device("cpu")


def make_host(folder: Path, *, total: int, available: int) -> HostMemory:
    meminfo = f"MemTotal: {total // 1024} kB\nMemAvailable: {available // 1024} kB\n"
    (folder / "meminfo").write_text(meminfo)
    return HostMemory(folder, folder)


@pytest.mark.parametrize(
    ("total", "available", "exit_code"),
    [(100_000, 90_000, ExitCode.USER_ERROR), (2**40, 90_000, ExitCode.OUT_OF_HOST_MEMORY)],
    ids=["never", "not now"],
)
def test_a69_a_model_that_does_not_fit_is_refused(
    tiny_folder: Path, tmp_path: Path, total: int, available: int, exit_code: ExitCode
) -> None:
    host = make_host(tmp_path, total=total, available=available)
    with pytest.raises(TrainingError, match=r"needs at least 0\.5 GB of memory") as error:
        check_memory(tiny_folder, torch.float32, CPU, memory=host)
    assert (error.value.exit_code, error.value.event.code) == (exit_code, "out_of_memory")


def test_a69_a_model_that_fits_is_loaded(tiny_folder: Path, tmp_path: Path) -> None:
    needed = 4 * count_weights(tiny_folder).total + PROCESS_BYTES
    host = make_host(tmp_path, total=needed + 2048, available=needed + 2048)
    check_memory(tiny_folder, torch.float32, CPU, memory=host)


def test_a69_weights_in_int8_are_counted_for_both_passes(tiny_folder: Path, tmp_path: Path) -> None:
    enough_for_bfloat16 = 2 * count_weights(tiny_folder).total + PROCESS_BYTES + 1024
    host = make_host(tmp_path, total=enough_for_bfloat16, available=enough_for_bfloat16)
    check_memory(tiny_folder, torch.bfloat16, CPU, memory=host)
    with pytest.raises(TrainingError, match="memory"):
        check_memory(tiny_folder, torch.bfloat16, CPU, multiplies_int8=True, memory=host)


def test_a69_weights_that_are_converted_take_memory_beside_those_in_int8(
    tiny_folder: Path, tmp_path: Path
) -> None:
    counts = count_weights(tiny_folder)
    rest = 2 * (counts.total - counts.in_layers) + PROCESS_BYTES
    enough_for_int8 = int(rest + INT8_BYTES_PER_WEIGHT * counts.in_layers) + 1024
    host = make_host(tmp_path, total=enough_for_int8, available=enough_for_int8)
    check_memory(tiny_folder, torch.bfloat16, CPU, multiplies_int8=True, memory=host)
    with pytest.raises(TrainingError, match="memory"):
        check_memory(
            tiny_folder, torch.bfloat16, CPU, multiplies_int8=True, is_converted=True, memory=host
        )


def test_a69_weights_for_a_gpu_are_counted_if_they_are_on_the_host_first(
    tiny_folder: Path, tmp_path: Path
) -> None:
    host = make_host(tmp_path, total=100_000, available=90_000)
    gpu = torch.device("cuda")
    check_memory(tiny_folder, torch.float32, gpu, memory=host)
    with pytest.raises(TrainingError):
        check_memory(tiny_folder, torch.float32, gpu, on_host=True, memory=host)
