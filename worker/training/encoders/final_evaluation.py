"""Final evaluation: a job's files asked of the engine that will serve the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from app.catalog import CatalogModel
from app.logs import get_logger
from app.wire.encoders import MAX_CONTEXT_CHARS, MAX_QUESTION_CHARS
from worker.encoding.task import Method
from worker.training.encoders.methods import DataSplit
from worker.training.encoders.model import EncoderWeights
from worker.training.encoders.objective import EncoderObjective, EvaluationReport
from worker.training.encoders.served_predictions import predict_as_served, serve
from worker.training.serving_check.errors import served_differently

# Examples of a file that are asked of the engine: a bound on the time after the last
# step.
MAX_ASKED_EXAMPLES = 5_000
# Difference between the two values of the metric that rounding explains: a share of the examples,
# and some examples of a small file. The engine computes in the precision that it serves.
MAX_DIFFERENCE = 0.02
MAX_DIFFERING_EXAMPLES = 2

log = get_logger(__name__)


def evaluate_as_served(
    objective: EncoderObjective[Any],
    valid: DataSplit,
    weights: EncoderWeights,
    base: CatalogModel,
    cache: Path,
) -> EvaluationReport:
    """Measure the model as it will be served, and compare it with what training measured.

    If a large file has more than MAX_ASKED_EXAMPLES, the first ones are compared, and the report is
    training's, on all. `engine` of the report has the metric's two values on the examples that were
    asked; it is missing if a second model does not fit into memory. Raises TrainingError if the
    values differ by more than rounding.
    """
    method = objective.encoder.task.method
    rows = _select_rows(valid, method)
    if not rows:
        return objective.evaluate(valid.rows)
    trained = objective.evaluate(rows)
    inputs = objective.served_inputs(rows, valid.examples)
    try:
        with serve(weights, base, cache) as served:
            predictions = predict_as_served(served, method, inputs)
    except (MemoryError, torch.OutOfMemoryError) as error:
        # A second copy of the model need not fit beside the optimizer. The training is done.
        log.warning("evaluation.not_as_served", exc_info=error)
        return objective.evaluate(valid.rows)
    as_served = objective.score(rows, predictions)
    _compare(objective.metric, trained, as_served, len(inputs))
    is_complete = len(rows) == len(valid.rows)
    report = {**trained, **as_served} if is_complete else objective.evaluate(valid.rows)
    engine = {
        "metric": objective.metric,
        "asked": len(inputs),
        "served": as_served.get(objective.metric),
        "trained": trained.get(objective.metric),
    }
    return EvaluationReport({**report, "engine": engine})


def _select_rows(valid: DataSplit, method: Method) -> Sequence[Any]:
    """Select the rows of the first examples that clients can ask about."""
    if method != "question_answering":
        return valid.rows[:MAX_ASKED_EXAMPLES]
    askable = {
        index
        for index, example in enumerate(valid.examples[:MAX_ASKED_EXAMPLES])
        if len(example.question) <= MAX_QUESTION_CHARS and len(example.context) <= MAX_CONTEXT_CHARS
    }
    return [row for row in valid.rows if row.example_index in askable]


def _compare(
    metric: str, trained: Mapping[str, Any], served: Mapping[str, Any], num_asked: int
) -> None:
    """Raise TrainingError if the metric differs by more than rounding."""
    if metric not in trained or metric not in served:
        return
    tolerance = MAX_DIFFERENCE + MAX_DIFFERING_EXAMPLES / num_asked
    if abs(trained[metric] - served[metric]) > tolerance:
        raise served_differently(
            f"{metric} is {served[metric]:.3f} by the engine and {trained[metric]:.3f} in "
            "training, on the same rows"
        )
