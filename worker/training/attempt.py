"""One training attempt, and the exit code of its outcome."""

import gc
from dataclasses import replace

import torch

from app.logs import get_logger
from worker.comparison_notes import verified
from worker.model_cache import remember_checksums
from worker.run_folder import ComparisonBegan, ExitCode, Failed, RunFolder, RunSpec
from worker.training.base_loading import wants_quantized_base
from worker.training.builder import build_training_loop
from worker.training.environment import StopSignal, make_deterministic, set_threads
from worker.training.errors import classify_error
from worker.training.leakage import leakage_warnings
from worker.training.preloading import release_base
from worker.training.ranks import ALONE, Ranks
from worker.training.serving_check.trained import TrainedRows

log = get_logger(__name__)


def run_attempt(folder: RunFolder, ranks: Ranks = ALONE) -> ExitCode:
    """Train according to the folder's spec, as one of the `ranks`; record a known failure.

    Re-raises an exception that `classify_error` does not recognize: the process crashes.
    """
    stop = StopSignal(folder)
    spec = folder.read_spec()
    remember_checksums(spec.checksums)
    set_threads(spec.threads, processes=ranks.count)
    if spec.deterministic or not torch.cuda.is_available():
        make_deterministic()
    try:
        exit_code, trained = _train(folder, spec, stop, ranks)
        if trained is not None:
            # Not before it is needed: the engine's modules take long to import.
            from worker.training.serving_check.check import check_as_served

            release_base()
            check_as_served(folder, trained)
        return exit_code
    except Exception as error:
        training_error = classify_error(error)
        if training_error is None:
            raise
        log.error("training.failed", code=training_error.event.code, exc_info=error)
        _record_failure(folder, training_error.event)
        return training_error.exit_code


def _train(
    folder: RunFolder, spec: RunSpec, stop: StopSignal, ranks: Ranks
) -> tuple[ExitCode, TrainedRows | None]:
    """Train, and measure rows with the trained model if it must be compared with the engine's.

    The model is released on return, so that the engine's fits into memory.
    """
    loop, comparison = build_training_loop(folder, spec, stop, ranks)
    leakage = leakage_warnings(folder) if ranks.is_first else ()
    warnings = [*loop.data_warnings, *leakage]
    # Garbage collection need not look at modules and the model again and again.
    gc.freeze()
    try:
        exit_code = replace(loop, data_warnings=warnings).run()
        ranks.finish()
    finally:
        gc.unfreeze()
    if exit_code != ExitCode.DONE or not ranks.is_first:
        return exit_code, None
    if comparison is None:
        return exit_code, None
    stored = comparison.check_stored()
    # The report on a test file, and what 4-bit weights change, is of what the engine computes.
    is_reported = folder.test_file.exists() or wants_quantized_base(spec)
    if stored.is_covered(spec.compared) and not is_reported:
        folder.append_event(verified())
        return exit_code, None
    folder.append_event(ComparisonBegan())
    return exit_code, replace(comparison.measure(), stored=stored)


def _record_failure(folder: RunFolder, record: Failed) -> None:
    try:
        folder.append_event(record)
    except OSError as error:
        # The disk may be full. The exit code still reports the failure.
        log.error("training.failure_not_recorded", code=record.code, exc_info=error)
