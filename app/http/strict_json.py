"""Strict JSON request bodies: rejects NUL, lone surrogates, NaN, deep nesting and oversized
documents. Routes with plain functions serialize their response in the function's worker thread.
"""

import inspect
import json
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import Any

import orjson
from fastapi import Request, Response
from pydantic import TypeAdapter

from app.http.fair_limiter import FairLimiter
from app.http.openapi import DocumentedRoute

# Far more than any request needs, and below the recursion limit of JSON writers.
MAX_DEPTH = 100
# Strings (keys included), arrays and objects. Validation blocks the event loop, and a body of
# megabytes could hold millions of them.
MAX_NODES = 40_000
# Per object: pydantic reports every invalid member, and each report is slow. Arrays stop at their
# first error, see `fail_fast` in the schemas.
MAX_OBJECT_MEMBERS = 2048
# Members of these are not validated one by one: JSON Schemas, which have limits of their own.
SCHEMA_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
# All values including numbers, on routes that accept token ids: OpenAI takes 300,000 per request.
MAX_VALUES_WITH_TOKEN_IDS = 500_000
# A longer body is parsed in a worker thread; below this, the hand-over would take longer.
MAX_INLINE_PARSE_BYTES = 64 * 1024
NUL = "\0"

NON_STRUCTURAL_BYTES = bytes(set(range(256)) - set(b'"[{,'))


class StrictJsonRequest(Request):
    """Request whose JSON body must be UTF-8, without NaN, lone surrogates and NUL, and within the
    limits of depth and size."""

    max_values = MAX_NODES

    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= MAX_INLINE_PARSE_BYTES:
            return parse_json(body, max_values=self.max_values)
        threads: FairLimiter = self.app.state.shared.json_threads
        return await threads.run(lambda: parse_json(body, max_values=self.max_values))


class TokenIdsRequest(StrictJsonRequest):
    """Request that may contain texts as token ids, and thus many more numbers."""

    max_values = MAX_VALUES_WITH_TOKEN_IDS


class StrictRoute(DocumentedRoute):
    """Route that parses its body with `parse_json`."""

    request_class: type[StrictJsonRequest] = StrictJsonRequest

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        status = options.get("status_code") or 200
        super().__init__(path, _serialize_in_worker_thread(endpoint, status), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(self.request_class(request.scope, request.receive))

        return handle_strictly


class TokenIdsRoute(StrictRoute):
    """Strict route whose body may contain texts as token ids."""

    request_class = TokenIdsRequest


def _serialize_in_worker_thread(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    """Wrap a plain endpoint so that it returns its model's JSON as a Response.

    FastAPI would validate the model in another thread and serialize it in the event loop, where
    it would block other requests.
    """
    return_type = inspect.signature(endpoint).return_annotation
    if inspect.iscoroutinefunction(endpoint) or issubclass(return_type, Response):
        return endpoint
    adapter = TypeAdapter(return_type)

    @wraps(endpoint)
    def call_and_serialize(**arguments: Any) -> Response:
        content = adapter.dump_json(endpoint(**arguments))
        return Response(content, status, media_type="application/json")

    return call_and_serialize


def parse_json(body: bytes, *, max_values: int = MAX_NODES) -> Any:
    """Parse a JSON document. Raises json.JSONDecodeError, which FastAPI answers with a 400."""
    # Checked before parsing: the parsed tree is ten times as large as the text.
    if _exceeds_value_limit(body, max_values) and _exceeds_value_limit(
        _structural_chars(body), max_values
    ):
        reason = f"it holds more than {MAX_NODES} strings, arrays and objects"
        raise json.JSONDecodeError(f"{reason}, or more than {max_values} values", "", 0)
    document = orjson.loads(body)
    # Cheap upper bounds first: most bodies need no walk.
    may_be_deep = body.count(b"[") + body.count(b"{") > MAX_DEPTH
    if may_be_deep or body.count(b":") > MAX_OBJECT_MEMBERS or b"\\u0000" in body:
        _check_depth_and_nul(document)
    return document


def _exceeds_value_limit(body: bytes, max_values: int) -> bool:
    """The limits are exceeded, if all quotes, brackets and commas in `body` are structural."""
    nodes = body.count(b'"') // 2 + body.count(b"[") + body.count(b"{")
    # A comma precedes every value but the first of an array or object.
    return nodes > MAX_NODES or body.count(b",") >= max_values


def _structural_chars(body: bytes) -> bytes:
    """The document's quotes, and its brackets and commas outside of strings."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    chars = unescaped.translate(None, NON_STRUCTURAL_BYTES)
    if chars.count(b'"') > 2 * MAX_NODES:
        # Too many strings already; splitting would make as many objects.
        return chars
    return b'""'.join(chars.split(b'"')[::2])


def _check_depth_and_nul(document: Any) -> None:
    level = [document]
    _check_members([document])
    for _ in range(MAX_DEPTH):
        if any(isinstance(value, str) and NUL in value for value in level):
            # Postgres cannot store it in text.
            raise json.JSONDecodeError("a string holds the character NUL", "", 0)
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise json.JSONDecodeError(f"it is nested deeper than {MAX_DEPTH} levels", "", 0)


def _check_members(values: Iterable[Any]) -> None:
    if any(isinstance(value, dict) and len(value) > MAX_OBJECT_MEMBERS for value in values):
        reason = f"an object has more than {MAX_OBJECT_MEMBERS} members"
        raise json.JSONDecodeError(reason, "", 0)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        _check_members(child for name, child in value.items() if name not in SCHEMA_MAPS)
        return [*value.keys(), *value.values()]
    if isinstance(value, list):
        _check_members(value)
        return value
    return []
