"""Asks an engine to render rows of a training file, as training on a base model would."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import logs
from app.catalog import CatalogModel
from app.errors import InvalidRequest, ServiceUnavailable
from app.formats import FormatName
from app.formats.rows import Row
from app.inference.engine_errors import EngineFailed, EngineUnavailable, NotSupportedByEngine
from app.inference.engine_http import read_error
from app.inference.engines import EngineClient
from app.jobs.file_checks import FORMATS_BY_METHOD
from app.models.registry import ResolvedModel
from app.wire.long_rows import LongRowPolicy, get_default_policy
from app.wire.training_rows import RenderedTrainingRows, SegmentSplit

log = logs.get_logger(__name__)

RENDER_PATH = "/v1/render_training_rows"
# Per request. Other projects' prompts are rendered between two requests.
MAX_ROWS = 32
MAX_BYTES = 256 * 2**10
# Per request. An engine takes a second or two for its rows, and longer while it is busy.
RESPONSE_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RowRendering:
    """Parameters by which the rows of a file are rendered for a job."""

    base: CatalogModel
    method: str
    format: FormatName
    max_tokens: int | None = None
    long_rows: LongRowPolicy | None = None
    thinking: bool = False
    # For an estimate of training.
    include_facts: bool = False

    def build_body(self, rows: Sequence[Row], split: SegmentSplit | None) -> dict[str, Any]:
        """Build the request to an engine."""
        return {
            "model": self.base.id,
            "method": self.method,
            "format": self.format,
            "rows": rows,
            "max_tokens": self.max_tokens,
            "thinking": self.thinking,
            "long_rows": self.long_rows or get_default_policy(self.method),
            "split": split,
            "include_facts": self.include_facts,
        }


def choose_method(base: CatalogModel, format: FormatName, method: str | None) -> str:
    """Choose the method of a job on a base model with files of a format, or check the given one.

    Raises InvalidRequest.
    """
    available = [name for name in base.methods if format in FORMATS_BY_METHOD.get(name, ())]
    if method in available:
        return str(method)
    if method is None and available:
        return available[0]
    if method is not None:
        raise InvalidRequest(
            f"Method '{method}' does not train {base.id} on files in the {format} format. "
            + (f"Use {' or '.join(available)}." if available else "Use another model."),
            param="method",
            code="invalid_value",
        )
    raise InvalidRequest(
        f"No method trains {base.id} on files in the {format} format. Use another model, or omit "
        "'model'.",
        param="model",
        code="invalid_value",
    )


async def render_rows(
    engines: EngineClient,
    project_id: str,
    rendering: RowRendering,
    rows: Sequence[Row],
    split: SegmentSplit | None,
) -> list[RenderedTrainingRows]:
    """Render rows by a few at a time; each part of the result has the next ones.

    Raises ServiceUnavailable if the engine is down, does not respond in time or does not have the
    model's files yet, and NotSupportedByEngine for a model of another engine.
    """
    if rendering.base.engine is not None:
        raise NotSupportedByEngine(
            f"The model {rendering.base.id} has an engine of its own, which cannot render rows of "
            "training files. Omit 'model' to see the rows as they are.",
            param="model",
        )
    return [
        await _send(engines, project_id, rendering.base, rendering.build_body(part, split))
        for part in _split(rows)
    ]


async def _send(
    engines: EngineClient, project_id: str, base: CatalogModel, body: dict[str, Any]
) -> RenderedTrainingRows:
    model = ResolvedModel(base.id, base)
    try:
        async with (
            asyncio.timeout(RESPONSE_TIMEOUT_SECONDS),
            engines.forward(model, RENDER_PATH, body, project_id=project_id) as response,
        ):
            content = b"".join([chunk async for chunk in response.chunks])
    except TimeoutError as cause:
        log.warning("rendering.timed_out", model=base.id)
        raise EngineUnavailable(
            f"The engine of `{base.id}` did not render rows of the file within "
            f"{RESPONSE_TIMEOUT_SECONDS:g} s. Please retry in a minute."
        ) from cause
    if response.status < 400:
        return RenderedTrainingRows.model_validate_json(content)
    error = read_error(content) or {}
    message = str(error.get("message") or "")
    if response.status < 500:
        raise InvalidRequest(message, param="model")
    raise ServiceUnavailable(message) if message else EngineFailed


def _split(rows: Sequence[Row]) -> list[list[Row]]:
    parts: list[list[Row]] = []
    size = MAX_BYTES
    for row in rows:
        length = len(orjson.dumps(row))
        if size + length > MAX_BYTES or len(parts[-1]) == MAX_ROWS:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += length
    return parts
