"""Death of the parent process: have the kernel signal this process when its parent dies.

Imports almost nothing, since a new process calls it before it loads anything else.
"""

import ctypes
import signal
import sys

# From prctl(2).
PR_SET_PDEATHSIG = 1

# Looked up at import: between fork and exec no library may be loaded.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with_parent(signal_number: signal.Signals = signal.SIGKILL) -> None:
    """Receive a signal when the thread that started this process ends. Linux only; else a no-op.

    The request survives an exec. A parent that has died already sends nothing: compare
    `os.getppid()` with the expected parent afterwards.
    """
    if _PRCTL is not None:
        _PRCTL(PR_SET_PDEATHSIG, int(signal_number))
