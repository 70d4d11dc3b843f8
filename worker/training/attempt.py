"""One attempt from start to exit code."""

from app.logs import get_logger
from worker.rundir import ExitCode, Failed, RunFolder
from worker.training.builder import build_training_loop
from worker.training.environment import StopSignal, make_deterministic
from worker.training.errors import classify_error

log = get_logger(__name__)


def run_attempt(folder: RunFolder) -> ExitCode:
    """Train what the folder's spec says; say in its events why it failed, if it did.

    Raises whatever is no known fault.
    """
    stop = StopSignal(folder)
    spec = folder.read_spec()
    make_deterministic(spec.threads)
    try:
        return build_training_loop(folder, spec, stop).run()
    except Exception as error:
        fault = classify_error(error)
        if fault is None:
            raise
        log.error("training.failed", code=fault.event.code, exc_info=error)
        _record_failure(folder, fault.event)
        return fault.exit_code


def _record_failure(folder: RunFolder, record: Failed) -> None:
    try:
        folder.append_event(record)
    except OSError as error:
        # The disk is full, perhaps. The exit code still tells.
        log.error("training.unrecorded", code=record.code, exc_info=error)
