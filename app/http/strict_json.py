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
DEEPEST = 100
# Texts (keys are texts too), lists and objects. Validation holds the event loop, and a body of
# megabytes could hold millions of them.
MOST_THINGS = 40_000
# Of one object: pydantic goes on to the last member that is wrong, and takes long to tell of each.
# Lists end at their first, see `fail_fast` in the schemas.
MOST_MEMBERS = 2048
# Numbers too, where token ids are read: OpenAI takes 300,000 in one request.
MOST_IDS = 500_000
# What takes longer to read than handing it to a thread does.
LONG_BYTES = 64 * 1024
NUL = "\0"

# All but what shows how many things there are.
UNMARKED = bytes(set(range(256)) - set(b'"[{,'))


class StrictRequest(Request):
    """A request whose JSON is UTF-8, without NaN, lone surrogates, NUL, bottomless nesting or
    countless values."""

    most_values = MOST_THINGS

    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= LONG_BYTES:
            return parse(body, most_values=self.most_values)
        return await to_thread.run_sync(lambda: parse(body, most_values=self.most_values))


class IdsRequest(StrictRequest):
    """A request that may hold texts as token ids."""

    most_values = MOST_IDS


class StrictRoute(APIRoute):
    request_class: type[StrictRequest] = StrictRequest

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _writing(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(self.request_class(request.scope, request.receive))

        return strictly


class IdsRoute(StrictRoute):
    request_class = IdsRequest


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


def parse(body: bytes, *, most_values: int = MOST_THINGS) -> Any:
    """A JSON document. Raises json.JSONDecodeError, which FastAPI takes for the client's fault."""
    # Before there is a tree of it, which is ten times as large.
    if _is_crowd(body, most_values) and _is_crowd(_marks(body), most_values):
        told = f"it holds more than {MOST_THINGS} texts, lists and objects"
        raise json.JSONDecodeError(f"{told}, or more than {most_values} values", "", 0)
    document = orjson.loads(body)
    # Cheap questions first: most bodies need no walk.
    deep = body.count(b"[") + body.count(b"{") > DEEPEST
    if deep or body.count(b":") > MOST_MEMBERS or b"\\u0000" in body:
        _inspect(document)
    return document


def _is_crowd(body: bytes, most_values: int) -> bool:
    """Whether these are too many, if all their quotes, brackets and commas are JSON's own."""
    things = body.count(b'"') // 2 + body.count(b"[") + body.count(b"{")
    # There is a comma before each value but a thing's first.
    return things > MOST_THINGS or body.count(b",") >= most_values


def _marks(body: bytes) -> bytes:
    """Of a document its quotes, and the brackets and commas outside of its texts."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = unescaped.translate(None, UNMARKED)
    if marks.count(b'"') > 2 * MOST_THINGS:
        # Too many texts already, and as many pieces.
        return marks
    return b'""'.join(marks.split(b'"')[::2])


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
        if len(value) > MOST_MEMBERS:
            raise json.JSONDecodeError(f"an object has more than {MOST_MEMBERS} members", "", 0)
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []
