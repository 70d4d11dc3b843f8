"""Slots of a trainer: each runs one job at a time, on GPUs of its own if there are enough."""

import itertools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Read by CUDA, and by torch's build for ROCm.
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of one running job. `devices` are its GPUs, as in CUDA_VISIBLE_DEVICES."""

    devices: tuple[str, ...] = ()

    def build_environment(self) -> dict[str, str]:
        """Variables by which a process sees the slot's GPUs alone; none without GPUs."""
        return {VISIBLE_DEVICES: ",".join(self.devices)} if self.devices else {}


class Slots:
    """The slots of a trainer. Thread-safe."""

    def __init__(self, count: int, devices: Sequence[str], *, per_slot: int = 1) -> None:
        """Give each of `count` slots so many of the `devices`; they share them if there are few.

        Raises SystemExit if there are some, but too few for a single slot.
        """
        if devices and len(devices) < per_slot:
            raise SystemExit(
                f"LUTHIER_TRAINING_PROCESSES is {per_slot}, but this trainer has "
                f"{len(devices)} GPU(s). Set it to at most as many."
            )
        endless = itertools.cycle(devices)
        self._free = [Slot(tuple(itertools.islice(endless, per_slot))) for _ in range(count)]
        self._lock = threading.Lock()

    def acquire(self) -> Slot | None:
        """Take a free slot, or None if there is none."""
        with self._lock:
            return self._free.pop(0) if self._free else None

    def release(self, slot: Slot) -> None:
        with self._lock:
            self._free.insert(0, slot)


def list_devices(dev: Path = Path("/dev")) -> list[str]:
    """List the GPUs of this process: those of CUDA_VISIBLE_DEVICES, else NVIDIA's, by number.

    None if the installed torch is built for CPUs alone.
    """
    if "+cpu" in _find_torch_version():
        return []
    visible = os.environ.get(VISIBLE_DEVICES)
    if visible is None:
        return [str(number) for number in range(len(list(dev.glob("nvidia[0-9]*"))))]
    names = [name.strip() for name in visible.split(",")]
    # CUDA ignores what follows an invalid name, such as -1.
    end = next((i for i, name in enumerate(names) if not name or name.startswith("-")), len(names))
    return names[:end]


def _find_torch_version() -> str:
    """The version of torch, which only training processes import; it may be elsewhere."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""
