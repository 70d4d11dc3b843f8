"""Routes that read JSON strictly: what Python's parser lets through breaks what comes behind it.

What a plain function answers, they write in the thread that the function runs in.
"""

import inspect
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

# Far more than any request needs, and below where writers of JSON give up.
DEEPEST = 100
NUL = "\0"


class StrictRequest(Request):
    """A request whose JSON is UTF-8, without NaN, lone surrogates, NUL or bottomless nesting."""

    async def json(self) -> Any:
        return parse(await self.body())


class StrictRoute(APIRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _writing(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


def _writing(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, which answers with the JSON of its model.

    FastAPI would send the model to another thread to look at its type, and write it in the event
    loop, where other requests wait meanwhile.
    """
    kind = inspect.signature(endpoint).return_annotation
    if inspect.iscoroutinefunction(endpoint) or issubclass(kind, Response):
        return endpoint
    answers = TypeAdapter(kind)

    @wraps(endpoint)
    def write(**given: Any) -> Response:
        return Response(answers.dump_json(endpoint(**given)), media_type="application/json")

    return write


def parse(body: bytes) -> Any:
    """A JSON document. Raises json.JSONDecodeError, which FastAPI takes for the client's fault."""
    document = orjson.loads(body)
    # Cheap questions first: most bodies need no walk.
    if body.count(b"[") + body.count(b"{") > DEEPEST or b"\\u0000" in body:
        _inspect(document)
    return document


def _inspect(document: Any) -> None:
    level = [document]
    for _ in range(DEEPEST):
        if any(isinstance(value, str) and NUL in value for value in level):
            # Postgres has no text with it.
            raise json.JSONDecodeError("a string holds the character NUL", "", 0)
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise json.JSONDecodeError(f"it is nested deeper than {DEEPEST} levels", "", 0)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []
