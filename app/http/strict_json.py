"""Routes that read JSON strictly: what Python's parser lets through breaks what comes behind it.

What a plain function answers, they write in the thread that the function runs in.
"""

import inspect
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import orjson
from anyio import to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

# Far more than any request needs, and below where writers of JSON give up.
MAX_DEPTH = 100
# Texts (keys are texts too), lists and objects. Validation holds the event loop, and a body of
# megabytes could hold millions of them.
MAX_NODES = 40_000
# Of one object: pydantic goes on to the last member that is wrong, and takes long to tell of each.
# Lists end at their first, see `fail_fast` in the schemas.
MAX_OBJECT_MEMBERS = 2048
# Numbers too, where token ids are read: OpenAI takes 300,000 in one request.
MAX_VALUES_WITH_TOKEN_IDS = 500_000
# What takes longer to read than handing it to a thread does.
MAX_INLINE_PARSE_BYTES = 64 * 1024
NUL = "\0"

# All but what shows how many things there are.
NON_STRUCTURAL_BYTES = bytes(set(range(256)) - set(b'"[{,'))


class StrictJsonRequest(Request):
    """A request whose JSON is UTF-8, without NaN, lone surrogates, NUL, bottomless nesting or
    countless values."""

    max_values = MAX_NODES

    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= MAX_INLINE_PARSE_BYTES:
            return parse_json(body, max_values=self.max_values)
        return await to_thread.run_sync(lambda: parse_json(body, max_values=self.max_values))


class TokenIdsRequest(StrictJsonRequest):
    """A request that may hold texts as token ids."""

    max_values = MAX_VALUES_WITH_TOKEN_IDS


class StrictRoute(APIRoute):
    request_class: type[StrictJsonRequest] = StrictJsonRequest

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _serialize_in_worker_thread(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(self.request_class(request.scope, request.receive))

        return strictly


class TokenIdsRoute(StrictRoute):
    request_class = TokenIdsRequest


def _serialize_in_worker_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
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


def parse_json(body: bytes, *, max_values: int = MAX_NODES) -> Any:
    """A JSON document. Raises json.JSONDecodeError, which FastAPI takes for the client's fault."""
    # Before there is a tree of it, which is ten times as large.
    if _exceeds_value_limit(body, max_values) and _exceeds_value_limit(
        _structural_chars(body), max_values
    ):
        told = f"it holds more than {MAX_NODES} texts, lists and objects"
        raise json.JSONDecodeError(f"{told}, or more than {max_values} values", "", 0)
    document = orjson.loads(body)
    # Cheap questions first: most bodies need no walk.
    deep = body.count(b"[") + body.count(b"{") > MAX_DEPTH
    if deep or body.count(b":") > MAX_OBJECT_MEMBERS or b"\\u0000" in body:
        _check_depth_and_nul(document)
    return document


def _exceeds_value_limit(body: bytes, most_values: int) -> bool:
    """Whether these are too many, if all their quotes, brackets and commas are JSON's own."""
    things = body.count(b'"') // 2 + body.count(b"[") + body.count(b"{")
    # There is a comma before each value but a thing's first.
    return things > MAX_NODES or body.count(b",") >= most_values


def _structural_chars(body: bytes) -> bytes:
    """Of a document its quotes, and the brackets and commas outside of its texts."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = unescaped.translate(None, NON_STRUCTURAL_BYTES)
    if marks.count(b'"') > 2 * MAX_NODES:
        # Too many texts already, and as many pieces.
        return marks
    return b'""'.join(marks.split(b'"')[::2])


def _check_depth_and_nul(document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        if any(isinstance(value, str) and NUL in value for value in level):
            # Postgres has no text with it.
            raise json.JSONDecodeError("a string holds the character NUL", "", 0)
        level = [inner for value in level for inner in _children(value)]
        if not level:
            return
    raise json.JSONDecodeError(f"it is nested deeper than {MAX_DEPTH} levels", "", 0)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        if len(value) > MAX_OBJECT_MEMBERS:
            raise json.JSONDecodeError(
                f"an object has more than {MAX_OBJECT_MEMBERS} members", "", 0
            )
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []
