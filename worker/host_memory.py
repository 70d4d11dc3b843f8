"""Host memory: what is available, and whether the kernel killed processes because it ran out."""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def return_freed_memory() -> None:
    """Give what was freed back to the system, where it is glibc that keeps it."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def release_file_pages(address: int, size: int, proc: Path = Path("/proc")) -> None:
    """Drop the whole pages of these bytes from this process; they are read again when used.

    Nothing happens if the bytes are not in one private mapping of a file: they would be lost.
    """
    first = address + -address % mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if first >= end or not _is_in_file(first, end, proc):
        return
    ctypes.CDLL(None).madvise(
        ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED
    )


def _is_in_file(first: int, end: int, proc: Path) -> bool:
    for line in _read_text(proc / "self/maps").splitlines():
        bounds, access, _, _, inode = line.split()[:5]
        begin, stop = (int(bound, 16) for bound in bounds.split("-"))
        if begin <= first and end <= stop:
            return access.endswith("p") and inode != "0"
    return False


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Reads Linux's counters, for this process's control groups (versions 1 and 2) and the host.

    Values that a system does not have are None; counters that it does not have are missing.
    """

    proc: Path = Path("/proc")
    cgroups: Path = Path("/sys/fs/cgroup")

    def count_oom_kills(self) -> dict[str, int]:
        """Read how often the kernel killed a process for memory, by the file that counts it."""
        files = [folder / name for folder in self._folders() for name in _COUNTERS]
        counts = {
            str(path): _read_fields(path).get("oom_kill") for path in [*files, self.proc / "vmstat"]
        }
        return {path: count for path, count in counts.items() if count is not None}

    def total_bytes(self) -> int | None:
        """Read the memory that processes here may use at most."""
        host = _read_fields(self.proc / "meminfo").get("MemTotal:")
        limits = [limit for limit, _ in self._limits()]
        return min([*limits, *([] if host is None else [host * 1024])], default=None)

    def available_bytes(self) -> int | None:
        """Read the memory that is left, with caches that the kernel can drop."""
        host = _read_fields(self.proc / "meminfo").get("MemAvailable:")
        left = [limit - used for limit, used in self._limits()]
        return min([*left, *([] if host is None else [host * 1024])], default=None)

    def _limits(self) -> Iterator[tuple[int, int]]:
        """Yield the limit of each control group that has one, with its use without caches."""
        for folder in self._folders():
            for limit_file, usage_file in _LIMITS:
                limit, used = _read_number(folder / limit_file), _read_number(folder / usage_file)
                if limit is not None and used is not None:
                    fields = _read_fields(folder / "memory.stat")
                    cache = fields.get("total_inactive_file", fields.get("inactive_file", 0))
                    yield limit, used - cache

    def _folders(self) -> Iterator[Path]:
        """Yield the folders of this process's memory control group and of those around it."""
        for line in _read_text(self.proc / "self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controllers not in ("", "memory"):
                continue
            root = self.cgroups / controllers
            group = root / path.lstrip("/")
            # In a container the path may be the host's, which is not mounted.
            for folder in (group, *group.parents):
                if folder.is_dir():
                    yield folder
                if folder == root:
                    break


_COUNTERS = ("memory.events", "memory.oom_control")
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def read_peak_memory(pid: int, proc: Path = Path("/proc")) -> int:
    """Read the most memory that a process has used, in bytes; 0 if it is unknown.

    That of its children, which train for it, is added.
    """
    own = _read_fields(proc / str(pid) / "status").get("VmHWM:", 0) * 1024
    children = _read_text(proc / str(pid) / "task" / str(pid) / "children").split()
    return own + sum(read_peak_memory(int(child), proc) for child in children)


def format_gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _read_fields(path: Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    fields = (line.split() for line in _read_text(path).splitlines())
    return {field[0]: int(field[1]) for field in fields if len(field) > 1 and field[1].isdigit()}


def _read_number(path: Path) -> int | None:
    text = _read_text(path).strip()
    # Version 2 writes "max" where a group has no limit.
    return int(text) if text.isdigit() else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
