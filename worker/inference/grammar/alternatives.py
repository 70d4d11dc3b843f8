"""Schemas of one type each that together allow what a JSON Schema allows."""

from collections.abc import Iterator, Mapping
from typing import Any

from worker.inference.answers.argument_types import MAX_REFERENCES
from worker.inference.answers.values import type_names
from worker.inference.grammar.pointers import resolve
from worker.inference.grammar.schema_rules import ASSERTIONS, SCHEMA_LISTS, SCHEMA_VALUES

Schema = Mapping[str, Any]
TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
# Without the integers, which are numbers.
ANY_TYPE = ("string", "number", "boolean", "null", "array", "object")
# What may stand beside a combination and changes nothing.
NEUTRAL = frozenset({"$defs", "definitions", "$schema", "$id", "$anchor"})
COMBINED = ("$ref", "anyOf", "oneOf", "allOf")
# A schema of references may have exponentially many alternatives.
MAX_STEPS = 2_000


class Unwritable(ValueError):
    """Something that no grammar for calls without JSON can express."""


def split(schema: Any, root: Schema) -> list[Schema]:
    """Split a schema into alternatives: each with one `type`, or with one value as `const`.

    Raises Unwritable.
    """
    return list(_Splitter(root).split(schema, 0))


class _Splitter:
    """Follows references and choices, whose number may be exponential, up to a number of steps."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._num_steps = 0

    def split(self, schema: Any, depth: int) -> Iterator[Schema]:
        self._num_steps += 1
        if self._num_steps > MAX_STEPS or depth > MAX_REFERENCES:
            raise Unwritable("references to each other, or too many choices,")
        if schema is False:
            return
        if not isinstance(schema, Mapping):
            schema = {}
        combined = next((key for key in COMBINED if key in schema), None)
        if combined is not None:
            yield from self._split_combined(schema, combined, depth + 1)
        elif "enum" in schema or "const" in schema:
            yield from _split_values(schema)
        else:
            for name in ANY_TYPE if "type" not in schema else sorted(_list_types(schema)):
                yield {**schema, "type": name}

    def _split_combined(self, schema: Schema, keyword: str, depth: int) -> Iterator[Schema]:
        beside = sorted(key for key in schema if key != keyword and key not in NEUTRAL)
        if beside and not (beside == ["type"] and keyword in ("anyOf", "oneOf")):
            raise Unwritable(f"'{keyword}' beside '{beside[0]}'")
        if keyword == "$ref":
            yield from self.split(resolve(self._root, str(schema[keyword])), depth)
            return
        options = schema[keyword]
        if not isinstance(options, list) or (keyword == "allOf" and len(options) > 1):
            raise Unwritable(f"'{keyword}' of several schemas")
        types = _list_types(schema)
        for option in options:
            for alternative in self.split(option, depth):
                if _names_of(alternative) & types:
                    yield alternative


def _split_values(schema: Schema) -> Iterator[Schema]:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    types = _list_types(schema)
    others = sorted(set(schema) & (ASSERTIONS | SCHEMA_LISTS | SCHEMA_VALUES) - {"enum", "const"})
    if others not in ([], ["type"]):
        raise Unwritable(f"'enum' or 'const' beside '{others[0]}'")
    for value in values if isinstance(values, list) else ():
        if type_names(value) & types:
            yield {"const": value}


def _list_types(schema: Schema) -> set[str]:
    types = schema.get("type", TYPES)
    names = {types} if isinstance(types, str) else {str(name) for name in types}
    unknown = sorted(names.difference(TYPES))
    if unknown:
        raise Unwritable(f"the type {unknown[0]!r}")
    return names


def _names_of(alternative: Schema) -> set[str]:
    if "const" in alternative:
        return type_names(alternative["const"])
    name = str(alternative["type"])
    return {name, "number"} if name == "integer" else {name}
