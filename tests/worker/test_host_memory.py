"""Host memory: limits and counters of control groups of both versions, and of the host."""

from pathlib import Path

import pytest

from worker.host_memory import HostMemory, read_peak_memory

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
