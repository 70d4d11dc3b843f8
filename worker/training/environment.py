"""Process-wide setup of training: priority, signals, determinism, environment fingerprint."""

import faulthandler
import os
import platform
import signal
from types import FrameType

import torch
import transformers

from app.parent_death import die_with_parent
from worker.run_folder import RunFolder

NICENESS = 5
OOM_SCORE_ADJ = "800"


class StopSignal:
    """True once a stop was requested, by the `stop` file in the run folder or by SIGTERM."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._signalled = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def __bool__(self) -> bool:
        return self._signalled or self._folder.stop_file.exists()


def configure_process() -> None:
    """Lower its priority, make it the OOM killer's first victim, have it die with its parent."""
    # The supervisor sends SIGABRT to a hung process; this prints its stack traces.
    faulthandler.enable()
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    if platform.system() != "Linux":
        return
    # An orphan would keep training a job that another trainer may already hold.
    die_with_parent()
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(OOM_SCORE_ADJ)


def set_threads(threads: int, *, processes: int = 1) -> None:
    """Set the number of CPU threads; `processes` that train together share them."""
    torch.set_num_threads(max(1, (threads or os.cpu_count() or 1) // processes))


def make_deterministic() -> None:
    """Make results bit-reproducible on this machine, for the number of threads that is set."""
    # The same as `use_deterministic_algorithms`, without importing torch's compiler for a second.
    torch.set_deterministic_debug_mode("error")
    # It would fill all new memory with NaN, to show whoever reads what nobody wrote. That is a pass
    # over each tensor of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_flush_denormal(True)


def get_environment_fingerprint(
    device: torch.device, dtype: torch.dtype, *, processes: int = 1, int8: bool = False
) -> dict[str, str]:
    """Describe the versions and hardware that bit-exact results depend on, besides the job."""
    on_cuda = device.type == "cuda"
    return {
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "device": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "dtype": str(dtype),
        **({"processes": str(processes)} if processes > 1 else {}),
        **({"int8": "allowed"} if int8 else {}),
    }
