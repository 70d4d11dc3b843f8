"""Storage gate: a trainer takes no jobs while the storage cannot be used or a disk is full.

Otherwise each queued job would use up an attempt to find out the same.
"""

import time

from app import logs
from app.operations import disk_space
from app.settings import Settings
from app.storage import ObjectStore, StorageUnavailable

log = logs.get_logger(__name__)

# An idle trainer looks for work every few seconds, and each check of a bucket is a request.
CHECK_INTERVAL_SECONDS = 10.0


class StorageGate:
    """Checks the storage before a job is acquired. Thread-safe."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._settings = settings
        self._store = store
        self._open_until = 0.0
        self._reason: str | None = None

    def is_open(self) -> bool:
        """Return true if an attempt can start. A failed check is repeated at the next call."""
        if time.monotonic() < self._open_until:
            return True
        if (reason := self._find_problem()) is not None:
            # Once: log lines every second would fill the disk further.
            if reason != self._reason:
                log.warning("trainer.waiting", reason=reason)
            self._reason = reason
            return False
        self._reason = None
        self._open_until = time.monotonic() + CHECK_INTERVAL_SECONDS
        return True

    def _find_problem(self) -> str | None:
        try:
            self._store.check()
        except StorageUnavailable as error:
            return str(error)
        if not disk_space.can_train(self._settings, self._store):
            return "The disk is nearly full."
        return None
