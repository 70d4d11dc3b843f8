"""One attempt from start to exit code."""

from app.logs import get
from worker.rundir import Exit, Failed, RunFolder
from worker.training.builder import assemble
from worker.training.environment import Stop, make_deterministic
from worker.training.errors import explain

log = get(__name__)


def attempt(folder: RunFolder) -> Exit:
    """Train what the folder's spec says; say in its events why it failed, if it did.

    Raises whatever is no known fault.
    """
    stop = Stop(folder)
    spec = folder.read_spec()
    make_deterministic(spec.threads)
    try:
        return assemble(folder, spec, stop).run()
    except Exception as error:
        fault = explain(error)
        if fault is None:
            raise
        log.error("training.failed", code=fault.record.code, exc_info=error)
        _record(folder, fault.record)
        return fault.exit_code


def _record(folder: RunFolder, record: Failed) -> None:
    try:
        folder.append(record)
    except OSError as error:
        # The disk is full, perhaps. The exit code still tells.
        log.error("training.unrecorded", code=record.code, exc_info=error)
