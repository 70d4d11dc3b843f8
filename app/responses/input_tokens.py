"""Number of tokens of a request: its engine reads it, and answers with a single token.

So every engine can count, by the model's own template, and has what it read in its cache when the
request itself comes.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from app.inference.answer_usage import read_tokens
from app.inference.endpoints import CHAT_COMPLETIONS_PATH
from app.inference.engine_errors import EngineUnavailable
from app.inference.engines import EngineClient
from app.models.registry import ResolvedModel
from app.responses.chat_request import translate_error


async def count_input_tokens(
    engines: EngineClient, model: ResolvedModel, request: Mapping[str, Any], project_id: str
) -> tuple[int, bytes]:
    """The status and body of the answer. Raises EngineUnavailable."""
    one_token = {**request, "max_completion_tokens": 1}
    async with engines.forward(
        model, CHAT_COMPLETIONS_PATH, one_token, project_id=project_id
    ) as response:
        body = b"".join([chunk async for chunk in response.chunks])
    if response.status >= 400:
        return response.status, translate_error(body)
    tokens = read_tokens(body)
    if tokens is None:
        raise EngineUnavailable
    counted = {"object": "response.input_tokens", "input_tokens": tokens.input}
    return 200, orjson.dumps(counted)
