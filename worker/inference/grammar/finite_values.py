"""Check that a JSON Schema has a value that ends, if it refers to its own parts."""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def has_finite_value(schema: Schema) -> bool:
    """Check whether any finite value may fulfil a schema: the least fixed point of its references.

    What only other keywords rule out is left to the grammar.
    """
    targets = {pointer: _resolve(schema, pointer) for pointer in set(_iter_references(schema))}
    # References that are known to have a finite value; those that lead nowhere are not judged.
    finite = {pointer for pointer, target in targets.items() if target is None}
    while new := {
        pointer
        for pointer, target in targets.items()
        if pointer not in finite and _is_finite(target, finite)
    }:
        finite |= new
    return _is_finite(schema, finite)


def _is_finite(schema: Any, finite: set[str]) -> bool:
    if not isinstance(schema, Mapping):
        return schema is not False
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in finite:
        return False
    for keyword in ("anyOf", "oneOf"):
        if not any(_is_finite(option, finite) for option in schema.get(keyword, [True])):
            return False
    if not all(_is_finite(part, finite) for part in schema.get("allOf", ())):
        return False
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds == ["object"]:
        return _has_finite_members(schema, finite)
    if kinds == ["array"]:
        return not _min_items(schema) or _is_finite(schema.get("items", True), finite)
    return True


def _has_finite_members(schema: Schema, finite: set[str]) -> bool:
    required, properties = schema.get("required"), schema.get("properties")
    if not isinstance(required, list) or not isinstance(properties, Mapping):
        return True
    names = [name for name in required if isinstance(name, str)]
    return all(_is_finite(properties.get(name, True), finite) for name in names)


def _min_items(schema: Schema) -> int:
    least = schema.get("minItems", 0)
    return least if isinstance(least, int) else 0


def _iter_references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _iter_references(item)
    elif isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in schema.values():
            yield from _iter_references(value)


def _resolve(schema: Schema, pointer: str) -> Any:
    """Find the part of a schema that a JSON pointer names; None if there is none."""
    part: Any = schema
    for name in pointer.removeprefix("#").split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(part, list) and name.isdecimal() and len(name) < 6:
            part = part[int(name)] if int(name) < len(part) else None
        else:
            part = part.get(name) if isinstance(part, Mapping) else None
    return part if pointer == "#" or pointer.startswith("#/") else None
