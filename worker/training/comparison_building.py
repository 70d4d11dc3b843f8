"""Builds what compares the model of a chat job with the engine after training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.catalog import CatalogModel
from worker.model.rendering import Renderer
from worker.modeling import choose_device, choose_dtype
from worker.run_folder import RunFolder, RunSpec
from worker.training.adapted_llama import AdaptedModel
from worker.training.base_loading import wants_quantized_base, wants_sharded_base
from worker.training.loop import TrainingLoop
from worker.training.serving_check.bounds import is_rounded, name_precision
from worker.training.serving_check.full_weights import FullWeights
from worker.training.serving_check.stored import StoredAdapter, check_stored
from worker.training.serving_check.trained import TrainedRows, measure_rows

SHARDED_NOT_COMPARED = (
    "the base model is divided among several processes, and an engine would need all of it"
)


@dataclass(frozen=True, slots=True)
class ServingComparison:
    """The part of the comparison that needs the trained model in memory.

    check_stored  checks the last checkpoint's adapter
    measure       measures rows with the chosen weights, which are of no use afterwards
    """

    check_stored: Callable[[], StoredAdapter]
    measure: Callable[[], TrainedRows]


def build_comparison(
    loop: TrainingLoop[Any],
    folder: RunFolder,
    spec: RunSpec,
    model_folder: Path,
    model: AdaptedModel,
    renderer: Renderer,
) -> ServingComparison:
    """Build the comparison of the model that this loop trains."""
    check = partial(check_stored, folder, model, renderer)
    if wants_sharded_base(spec, loop.ranks):
        return ServingComparison(check, lambda: TrainedRows(not_measured=SHARDED_NOT_COMPARED))
    served_quantization = CatalogModel.from_json(spec.model).quantization
    precision = name_precision(choose_dtype(choose_device()), served_quantization)
    measure = partial(
        measure_rows,
        folder,
        renderer,
        loop.objective,
        loop.parameters,
        with_scaled=is_rounded(precision),
        full=FullWeights(model_folder, model) if wants_quantized_base(spec) else None,
    )
    return ServingComparison(check, measure)
