"""Host memory: limits and counters of control groups of both versions, and of the host."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worker.host_memory import HostMemory, read_peak_memory, release_file_pages

VERSION_1 = {
    "cgroups/memory/a/memory.limit_in_bytes": "1000000",
    "cgroups/memory/a/memory.usage_in_bytes": "700000",
    "cgroups/memory/a/memory.stat": "total_inactive_file 100000\n",
    "cgroups/memory/a/memory.oom_control": "oom_kill_disable 0\noom_kill 2\n",
    "proc/self/cgroup": "5:cpu:/\n4:memory:/a/b\n0::/\n",
}
VERSION_2 = {
    "cgroups/a/memory.max": "1000000",
    "cgroups/a/memory.current": "700000",
    "cgroups/a/memory.stat": "anon 1\ninactive_file 100000\n",
    "cgroups/a/b/memory.max": "max",
    "cgroups/a/b/memory.current": "1",
    "cgroups/a/memory.events": "low 0\noom 3\noom_kill 2\n",
    "proc/self/cgroup": "0::/a/b\n",
}


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_a69_the_limits_of_surrounding_control_groups_count(
    files: dict[str, str], tmp_path: Path
) -> None:
    host = {"proc/meminfo": "MemTotal: 4000 kB\nMemAvailable: 3000 kB\n", "proc/vmstat": ""}
    for name, text in {**files, **host}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    memory = HostMemory(tmp_path / "proc", tmp_path / "cgroups")
    assert (memory.total_bytes(), memory.available_bytes()) == (1_000_000, 400_000)
    assert list(memory.count_oom_kills().values()) == [2]


def test_a69_a_system_without_counters_has_no_numbers(tmp_path: Path) -> None:
    memory = HostMemory(tmp_path, tmp_path)
    assert (memory.total_bytes(), memory.available_bytes()) == (None, None)
    assert memory.count_oom_kills() == {}


def test_the_peak_of_a_process_has_its_childrens(tmp_path: Path) -> None:
    for pid, kilobytes, children in ((7, 100, "8 9 "), (8, 20, ""), (9, 3, "10 "), (10, 1, "11 ")):
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text(children)
        (tmp_path / str(pid) / "status").write_text(f"VmHWM:\t{kilobytes} kB\n")
    assert read_peak_memory(7, tmp_path) == 124 * 1024
    assert read_peak_memory(12, tmp_path) == 0, "of one that has ended nothing is known"


def read_resident_bytes(path: Path) -> int:
    """Read how much of a file this process has in memory."""
    is_file, kilobytes = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            is_file = words[-1] == str(path)
        elif is_file and words[0] == "Rss:":
            kilobytes += int(words[1])
    return 1024 * kilobytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_a_file_are_released_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weight = torch.arange(2**20)
    save_file({"weight": weight}, path)
    mapped = load_file(path)["weight"]
    assert torch.equal(mapped, weight)
    assert read_resident_bytes(path) >= weight.nbytes
    release_file_pages(mapped.data_ptr(), mapped.nbytes)
    assert read_resident_bytes(path) < weight.nbytes / 4
    assert torch.equal(mapped, weight)


def test_memory_that_is_in_no_file_keeps_its_contents() -> None:
    weight = torch.arange(2**20)
    release_file_pages(weight.data_ptr(), weight.nbytes)
    assert torch.equal(weight, torch.arange(2**20))
