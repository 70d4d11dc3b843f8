"""Notices a training process that lives and does nothing: a deadlock, a dead device."""

import time

from worker.rundir import RunFolder


class Watch:
    """Ask often. Progress is that the journal of the run folder grows, whoever reads it."""

    def __init__(self, folder: RunFolder, *, patience_seconds: float) -> None:
        self._events = folder.events
        self._patience = patience_seconds
        self._size = -1
        self._since = time.monotonic()

    def is_in_vain(self) -> bool:
        """Whether nothing has been written for longer than there is patience for."""
        size = self._events.stat().st_size if self._events.exists() else 0
        if size != self._size:
            self._size, self._since = size, time.monotonic()
        return time.monotonic() - self._since > self._patience
