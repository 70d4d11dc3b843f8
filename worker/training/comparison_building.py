"""Adds to the training loop of a chat job what compares its model with the engine at the end."""

from dataclasses import replace
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
from worker.training.serving_check.stored import check_stored
from worker.training.serving_check.trained import TrainedRows, measure_rows

SHARDED_NOT_COMPARED = (
    "the base model is divided among several processes, and an engine would need all of it"
)


def with_comparison(
    loop: TrainingLoop[Any],
    folder: RunFolder,
    spec: RunSpec,
    model_folder: Path,
    model: AdaptedModel,
    renderer: Renderer,
) -> TrainingLoop[Any]:
    """Check the stored adapter after training, and measure rows for the comparison."""
    loop = replace(loop, check_stored=partial(check_stored, folder, model, renderer))
    if wants_sharded_base(spec, loop.ranks):
        return replace(loop, measure=lambda: TrainedRows(not_measured=SHARDED_NOT_COMPARED))
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
    return replace(loop, measure=measure)
