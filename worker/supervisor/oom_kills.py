"""Recognizes a training process that the kernel killed because memory ran out."""

import signal

from worker.host_memory import HostMemory, format_gigabytes, read_peak_memory


class OomKillDetector:
    """Compares the kernel's counters of such kills with those at its creation.

    They do not say which process was killed; a process of its own kind of death, SIGKILL, is most
    likely the one, since training is the first that the kernel picks.
    """

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._kills_before = memory.count_oom_kills()
        self._peak = 0

    def sample(self, pid: int) -> None:
        """Note the memory that the running process has used so far."""
        self._peak = max(self._peak, read_peak_memory(pid, self._memory.proc))

    def describe(self, exit_code: int) -> str | None:
        """Say what happened if this exit was a kill for memory, else None."""
        if exit_code != -signal.SIGKILL or not self._has_new_kill():
            return None
        total, available = self._memory.total_bytes(), self._memory.available_bytes()
        if total is None or available is None:
            return "Training ran out of memory and was killed by the operating system."
        return (
            "Training ran out of memory and was killed by the operating system: it used "
            f"{format_gigabytes(self._peak)}, and the machine has {format_gigabytes(total)}, of "
            f"which {format_gigabytes(available)} are free without it."
        )

    def _has_new_kill(self) -> bool:
        kills = self._memory.count_oom_kills()
        return any(count > self._kills_before.get(path, 0) for path, count in kills.items())
