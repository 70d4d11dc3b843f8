"""Comparison of the OpenAPI document with the operations of the installed OpenAI SDK."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from types import ModuleType
from typing import Any, get_args

from openai import resources
from typing_extensions import is_typeddict

from scripts.reference.http import document
from scripts.reference.markdown import code, table

PREFIX = "/v1"
VERBS = {"_get": "GET", "_post": "POST", "_delete": "DELETE", "_get_api_list": "GET"}
# A variable part of a path, whatever it is called.
VARIABLE = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the SDK, with the fields of its request."""

    method: str
    path: str
    fields: frozenset[str]

    @property
    def key(self) -> str:
        return f"{self.method} {VARIABLE.sub('{}', self.path)}"

    @property
    def family(self) -> str:
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        return f"{self.method} {PREFIX}{self.path}"


def shares() -> Iterator[str]:
    """The share of operations that exist here, per family, and the names of the others."""
    ours = _our_operations()
    families: dict[str, list[Operation]] = {}
    for operation in sdk_operations():
        families.setdefault(operation.family, []).append(operation)
    rows = [_describe_family(name, each, ours) for name, each in families.items()]
    rows.sort(key=lambda row: (-row.count / row.total, row.name))
    yield (
        f"Of {sum(row.total for row in rows)} operations of the Python SDK {version('openai')}, "
        f"{sum(row.count for row in rows)} exist here."
    )
    yield ""
    yield from table(
        ["Family", "Here", "Not here"],
        [[code(f"/{row.name}"), f"{row.count} of {row.total}", row.missing] for row in rows],
    )


def fields() -> Iterator[str]:
    """Fields of requests that the SDK has and the OpenAPI document has not."""
    ours = _our_operations()
    rows = []
    for operation in sdk_operations():
        unknown = operation.fields - ours.get(operation.key, operation.fields)
        if unknown:
            names = ", ".join(code(name) for name in sorted(unknown))
            rows.append([code(operation.name), names])
    if not rows:
        yield "None."
        return
    yield from table(["Operation", "Fields that only the SDK has"], rows)


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    count: int
    total: int
    missing: str


def _describe_family(
    name: str, operations: list[Operation], ours: Mapping[str, frozenset[str]]
) -> _Family:
    missing = [operation for operation in operations if operation.key not in ours]
    names = ", ".join(code(operation.name) for operation in missing)
    count = len(operations) - len(missing)
    return _Family(name, count, len(operations), names if count else "all")


@cache
def sdk_operations() -> tuple[Operation, ...]:
    """All operations that the SDK's resources send, sorted by path."""
    found: dict[str, Operation] = {}
    for module in pkgutil.walk_packages(resources.__path__, f"{resources.__name__}."):
        for operation in _operations_of(importlib.import_module(module.name)):
            # Each is there twice, since the SDK has an asynchronous client too.
            before = found.get(operation.key, operation)
            merged = before.fields | operation.fields
            found[operation.key] = Operation(operation.method, operation.path, merged)
    return tuple(sorted(found.values(), key=lambda each: (each.path, each.method)))


def _operations_of(module: ModuleType) -> Iterator[Operation]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        path = _path_of(node) if node.func.attr in VERBS else None
        if path is not None:
            yield Operation(_method_of(node, node.func.attr), path, _fields_of(module, node))


def _path_of(call: ast.Call) -> str | None:
    """The constant path of a request, or the template that it is made from."""
    match call.args:
        case [ast.Constant(value=str(path)), *_]:
            return path
        case [
            ast.Call(func=ast.Name(id="path_template"), args=[ast.Constant(value=str(path))]),
            *_,
        ]:
            return path
    return None


def _method_of(call: ast.Call, function: str) -> str:
    for keyword in call.keywords:
        if keyword.arg == "method" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value).upper()
    return VERBS[function]


def _fields_of(module: ModuleType, call: ast.Call) -> frozenset[str]:
    """The fields of the types that a request's body and query are made from."""
    names: set[str] = set()
    for node in ast.walk(call):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = getattr(module, node.value.id, None)
            if node.value.id.endswith("_params") and isinstance(owner, ModuleType):
                names |= _keys_of(getattr(owner, node.attr))
    return frozenset(names)


def _keys_of(kind: Any) -> set[str]:
    # Those of typing_extensions are not typing's.
    if is_typeddict(kind):
        return set(kind.__annotations__)
    return {key for member in get_args(kind) for key in _keys_of(member)}


@cache
def _our_operations() -> Mapping[str, frozenset[str]]:
    """The fields of the query and the body of each operation in the OpenAPI document."""
    api = document()
    found = {}
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            names = {each["name"].removesuffix("[]") for each in operation.get("parameters", ())}
            for content in operation.get("requestBody", {}).get("content", {}).values():
                names |= _properties(content["schema"], api["components"]["schemas"])
            key = f"{method.upper()} {VARIABLE.sub('{}', path.removeprefix(PREFIX))}"
            found[key] = frozenset(names)
    return found


def _properties(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _properties(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    members = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    names = set(schema.get("properties", ()))
    return names.union(*(_properties(member, schemas) for member in members))
