"""Lease of a conversion: renewed by a thread of its own, whatever the conversion waits for.

A large base model may take an hour to fetch, and its checksums minutes to compare.
"""

import threading
import time
from types import TracebackType
from typing import Self

from app import logs
from app.db.session import DatabaseUnavailable, transaction
from app.exports import conversions
from app.exports.conversions import LEASE_SECONDS, Conversion
from worker.supervisor.attempt import TrainerContext

log = logs.get_logger(__name__)

RENEW_INTERVAL_SECONDS = 10.0


class ConversionLost(Exception):
    """Nobody waits for the export any more, the lease is lost, or the trainer shuts down."""


class ExportLease:
    """Renews the lease of a conversion while the `with` block runs.

    It is lost if the database says so, and if it could not be renewed before it expired.
    """

    def __init__(self, context: TrainerContext, conversion: Conversion) -> None:
        self._context = context
        self._conversion = conversion
        self._renewed_at = time.monotonic()
        self._is_refused = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=conversion.export_id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def is_lost(self) -> bool:
        return self._find_loss() is not None

    def check(self) -> None:
        """Raise ConversionLost if the lease is lost."""
        if (reason := self._find_loss()) is not None:
            raise ConversionLost(reason)

    def _find_loss(self) -> str | None:
        if self._context.stopping.is_set():
            return "The trainer shuts down"
        if self._is_refused:
            return "Nobody waits for the export any more, or its model has changed"
        if time.monotonic() - self._renewed_at > LEASE_SECONDS:
            return "The lease has expired"
        return None

    def _run(self) -> None:
        while not self._is_refused and not self._done.wait(RENEW_INTERVAL_SECONDS):
            try:
                self._renew()
            except DatabaseUnavailable as error:
                log.warning(
                    "export.lease_not_renewed", export=self._conversion.export_id, reason=str(error)
                )
            except Exception:
                # Without this thread the lease would expire.
                log.exception("export.lease_error", export=self._conversion.export_id)

    def _renew(self) -> None:
        began_at = time.monotonic()
        with transaction(self._context.sessions) as session:
            is_kept = conversions.renew(
                session, self._conversion.export_id, self._conversion.attempt
            )
        if is_kept:
            self._renewed_at = began_at
        self._is_refused = not is_kept
