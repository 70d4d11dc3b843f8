"""One training attempt, and the exit code of its outcome."""

from dataclasses import replace

from app.logs import get_logger
from worker.run_folder import ExitCode, Failed, RunFolder
from worker.training.builder import build_training_loop
from worker.training.environment import StopSignal, make_deterministic
from worker.training.errors import classify_error
from worker.training.leakage import leakage_warnings

log = get_logger(__name__)


def run_attempt(folder: RunFolder) -> ExitCode:
    """Train according to the folder's spec; record a known failure as a `Failed` event.

    Re-raises an exception that `classify_error` does not recognize: the process crashes.
    """
    stop = StopSignal(folder)
    spec = folder.read_spec()
    make_deterministic(spec.threads)
    try:
        loop = build_training_loop(folder, spec, stop)
        warnings = [*loop.data_warnings, *leakage_warnings(folder)]
        return replace(loop, data_warnings=warnings).run()
    except Exception as error:
        training_error = classify_error(error)
        if training_error is None:
            raise
        log.error("training.failed", code=training_error.event.code, exc_info=error)
        _record_failure(folder, training_error.event)
        return training_error.exit_code


def _record_failure(folder: RunFolder, record: Failed) -> None:
    try:
        folder.append_event(record)
    except OSError as error:
        # The disk may be full. The exit code still reports the failure.
        log.error("training.failure_not_recorded", code=record.code, exc_info=error)
