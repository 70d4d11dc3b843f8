"""Comparison of the engine's log-probabilities with training's; a fault fails the job."""

import gc
from collections.abc import Sequence
from pathlib import Path

import torch

from app.catalog import CatalogModel
from app.logs import get_logger
from worker.comparison_notes import ComparisonNote, not_compared
from worker.host_memory import HostMemory
from worker.inference.adapter_format import InvalidAdapter, check_config, read_rendering_options
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.loaded_model import load_model
from worker.inference.transformers_decoder import TransformersDecoder
from worker.model.weight_counts import count_weights
from worker.model_sources import materialize
from worker.modeling import choose_device, choose_dtype
from worker.run_folder import EngineCompared, Noted, Preparing, RunFolder, RunSpec
from worker.training.errors import is_out_of_memory
from worker.training.serving_check.bounds import (
    Comparison,
    Verdict,
    compare,
    name_precision,
)
from worker.training.serving_check.errors import served_differently
from worker.training.serving_check.rows import CheckRow
from worker.training.serving_check.served import compute_served_logprobs
from worker.training.serving_check.stored import require_same_prompt
from worker.training.serving_check.trained import TOO_LITTLE_MEMORY, Logprobs, TrainedRows

# The engine fuses layers that share an input: it holds them twice while it loads a model.
ENGINE_LOAD_FACTOR = 2

log = get_logger(__name__)


def check_as_served(folder: RunFolder, trained: TrainedRows) -> None:
    """Ask the engine for the log-probabilities that training measured, and compare them.

    The base model is loaded as engines load it, not shared with training: weights that training
    changed and did not save would be in both. The caller has released training's. If memory is too
    small, the job's owner is told that nothing was compared. Raises TrainingError.
    """
    if trained.not_measured:
        folder.append_event(not_compared(trained.not_measured))
        return
    _release_memory()
    spec = folder.read_spec()
    if not _fits_into_memory(spec):
        folder.append_event(not_compared(TOO_LITTLE_MEMORY))
        return
    # Loading the model must not look like a stall.
    folder.append_event(Preparing(done=0, total=len(trained.rows)))
    try:
        precision, served = _ask_engine(folder, spec, trained.rows)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.warning("serving_check.out_of_memory", exc_info=error)
        folder.append_event(not_compared(TOO_LITTLE_MEMORY))
        return
    comparison = compare(precision, trained.logprobs, served, scaled=trained.scaled)
    _report(folder, comparison, trained)


def _report(folder: RunFolder, comparison: Comparison, trained: TrainedRows) -> None:
    """Record a comparison; raise TrainingError if it shows a fault."""
    file, stored = trained.file, trained.stored
    report = comparison.to_report()
    log.info("serving_check.compared", **report)
    if comparison.verdict is Verdict.FAULT:
        raise served_differently(_describe_fault(comparison, file))
    is_precedent = stored is not None and comparison.verdict is Verdict.AGREES
    kind, strength = (stored.kind, stored.strength) if stored and is_precedent else ("", 0.0)
    folder.append_event(EngineCompared(report=report, adapter_kind=kind, strength=strength))
    folder.append_event(_build_note(comparison, file))


def _ask_engine(
    folder: RunFolder, spec: RunSpec, rows: Sequence[CheckRow]
) -> tuple[str, list[Logprobs]]:
    """Load base model and adapter as an engine does, and ask for the rows' answers.

    Returns also what the engine computes in.
    """
    latest = folder.list_checkpoint_steps()[0]
    adapter = AdapterFiles("trained", folder.checkpoint(latest))
    entry = CatalogModel.from_json(spec.model)
    model = load_model(entry, Path(spec.model_cache), native_kernels=spec.native_kernels)
    decoder = model.engine.decoder
    precision = name_precision(
        choose_dtype(choose_device()),
        entry.quantization,
        is_throughout=isinstance(decoder, TransformersDecoder),
    )
    renderer = model.renderer.with_options(read_rendering_options(adapter.folder))
    for row in rows:
        require_same_prompt(row, renderer)
    try:
        check_config(adapter.folder)
        return precision, compute_served_logprobs(decoder, adapter, rows)
    except InvalidAdapter as error:
        raise served_differently(f"the engine refuses it. {error}".removesuffix(".")) from error


def _describe_fault(comparison: Comparison, file: str) -> str:
    scaling = comparison.scaling_error
    if comparison.is_scaled_otherwise and scaling is not None:
        size = f"{abs(scaling):.0%} {'more' if scaling > 0 else 'less'}"
        return (
            f"the adapter's effect is {size} by the engine than in training (the mean "
            f"log-probability is {comparison.served:.4f} by the engine and "
            f"{comparison.trained:.4f} in training) on the same {comparison.tokens} tokens of "
            f"answers of the {file}"
        )
    return (
        f"the mean log-probability is {comparison.served:.4f} by the engine and "
        f"{comparison.trained:.4f} in training, and that of a token differs by "
        f"{comparison.mean_difference:.4f} on average, where rounding explains at most "
        f"{comparison.limit:g}, on the same {comparison.tokens} tokens of answers of the {file}"
    )


def _build_note(comparison: Comparison, file: str) -> Noted:
    values = (
        f"mean difference {comparison.mean_difference:.2g} per token, {comparison.served:.4f} by "
        f"the engine and {comparison.trained:.4f} in training, on {comparison.tokens} tokens of "
        f"{comparison.asked} answers of the {file}"
    )
    if comparison.verdict is Verdict.AGREES:
        message = f"Served and trained log-probabilities agree: {values}"
        return Noted(key=ComparisonNote.AGREES, message=message)
    message = (
        f"Served and trained log-probabilities differ by more than rounding usually explains: "
        f"{values}; {comparison.bound:g} is usual in {comparison.dtype}. Measure the model's "
        "answers before you use it"
    )
    return Noted(key=ComparisonNote.DIFFERS, message=message, is_warning=True)


def _release_memory() -> None:
    # Models are in cycles of references.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _fits_into_memory(spec: RunSpec) -> bool:
    """Check the host's memory, whose lack the kernel answers by killing the process."""
    device = choose_device()
    available = HostMemory().available_bytes()
    if device.type != "cpu" or available is None:
        return True
    model_folder = materialize(CatalogModel.from_json(spec.model), Path(spec.model_cache))
    weights = count_weights(model_folder).total * choose_dtype(device).itemsize
    return ENGINE_LOAD_FACTOR * weights <= available
