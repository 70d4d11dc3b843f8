"""Renders rows of a training file for the API: by the code of training, without the model."""

from functools import partial

import orjson

from app.wire.training_rows import RenderedTrainingRows, RenderTrainingRowsRequest
from worker.encoding.rows.methods import ROW_METHODS
from worker.inference.encoders.registry import EncoderRegistry
from worker.inference.registry import ModelRegistry
from worker.inference.training_rows.chats import ChatRows
from worker.inference.training_rows.texts import TextRows
from worker.model.rendering import Renderer


async def render_training_rows(
    body: RenderTrainingRowsRequest,
    models: ModelRegistry,
    encoders: EncoderRegistry,
    project: str,
) -> RenderedTrainingRows:
    """Render rows in turn with requests of other projects.

    Raises InvalidRequest, NotFound, and ServiceUnavailable if the model is not on this machine.
    """
    rendered = await _render(body, models, encoders, project)
    if body.include_facts:
        rendered.facts = await models.get_facts(body.model)
    return rendered


async def _render(
    body: RenderTrainingRowsRequest,
    models: ModelRegistry,
    encoders: EncoderRegistry,
    project: str,
) -> RenderedTrainingRows:
    cost = len(orjson.dumps(body.rows))
    if body.method in ROW_METHODS:
        tokenization = await encoders.get_tokenization(body.model)
        rows = TextRows(tokenization.tokenizer, body)
        return await tokenization.executor.run(project, cost, rows.render)
    rendering = await models.get_rendering(body.model)
    # Making the template of other options takes its time too.
    return await rendering.executor.run(
        project, cost, partial(_render_chats, rendering.renderer, body)
    )


def _render_chats(renderer: Renderer, body: RenderTrainingRowsRequest) -> RenderedTrainingRows:
    return ChatRows(renderer, body).render()
