"""Types that a schema allows for an argument: a text without quotes is read by them."""

from collections.abc import Iterable, Mapping
from typing import Any

from worker.inference.answers.values import type_names
from worker.inference.grammar.pointers import resolve

Schema = Mapping[str, Any]
# References that are followed one after the other: they may be a circle.
MAX_REFERENCES = 32


def find_types(parameters: Schema, name: str) -> set[str]:
    """Find the names of the types that an argument may have; none means any."""
    properties = resolve_object(parameters).get("properties")
    schema = properties.get(name) if isinstance(properties, Mapping) else None
    return _TypeFinder(parameters).find(schema) or set()


def resolve_object(parameters: Schema) -> Schema:
    """Follow the reference that a schema of parameters may be."""
    schema: Any = parameters
    for _ in range(MAX_REFERENCES):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema if isinstance(schema, Mapping) else {}
        schema = resolve(parameters, reference)
        if not isinstance(schema, Mapping):
            break
    return {}


class _TypeFinder:
    """Finds types in a time that is linear in the schema, whatever refers to what."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        # By reference; one that refers to itself adds nothing.
        self._found: dict[str, set[str] | None] = {}

    def find(self, schema: Any) -> set[str] | None:
        """Find the types of a schema's values; None if they may have any."""
        if not isinstance(schema, Mapping):
            return None
        types = schema.get("type")
        if isinstance(types, str):
            return {types}
        if isinstance(types, list):
            return {name for name in types if isinstance(name, str)}
        if isinstance(values := schema.get("enum"), list):
            return set().union(*map(type_names, values))
        if "const" in schema:
            return type_names(schema["const"])
        if isinstance(reference := schema.get("$ref"), str):
            return self._follow(reference)
        return self._find_combined(schema)

    def _follow(self, reference: str) -> set[str] | None:
        if reference not in self._found:
            self._found[reference] = set()
            self._found[reference] = self.find(resolve(self._root, reference))
        return self._found[reference]

    def _find_combined(self, schema: Schema) -> set[str] | None:
        for keyword in ("anyOf", "oneOf"):
            if isinstance(options := schema.get(keyword), list):
                return _join(map(self.find, options))
        parts = schema.get("allOf")
        found = [self.find(part) for part in parts] if isinstance(parts, list) else []
        return next((types for types in found if types is not None), None)


def _join(found: Iterable[set[str] | None]) -> set[str] | None:
    """Join the types of options; one that may have any makes the whole so."""
    joined: set[str] = set()
    for types in found:
        if types is None:
            return None
        joined |= types
    return joined
