"""Check of a new job's rows: whether the base model's chat template has anything to learn in them.

Engines do it since they have the tokenizer in memory. Rendering takes turns with that of requests.
"""

from collections.abc import Iterable
from functools import partial

import orjson

from app.errors import InvalidRequest
from app.formats import FormatName
from app.wire.engine import CheckTrainingRowsRequest, TrainingRowsReport
from worker.inference.loaded_model import ModelRendering
from worker.model.rendering import Renderer
from worker.model.rendering.file_examples import READERS, Example, check_learning


async def check_training_rows(
    body: CheckTrainingRowsRequest, model: ModelRendering, project: str
) -> TrainingRowsReport:
    """Render rows until one has something to learn. Raises InvalidRequest."""
    if body.format not in READERS:
        raise InvalidRequest(
            f"Rows in the format {body.format!r} are not rendered.", param="format"
        )
    cost = len(orjson.dumps(body.rows))
    return await model.executor.run(project, cost, partial(_check, model.renderer, body))


def _check(renderer: Renderer, body: CheckTrainingRowsRequest) -> TrainingRowsReport:
    renderer = renderer.with_options(renderer.options, context_length=body.max_tokens)
    result = check_learning(renderer, _read_examples(body), first_number=body.first)
    return TrainingRowsReport(
        is_learned=result.is_learned,
        num_turns=result.num_turns,
        max_tokens=renderer.context_length,
        error=result.error,
    )


def _read_examples(body: CheckTrainingRowsRequest) -> Iterable[Example]:
    return map(READERS[FormatName(body.format)], body.rows)
