"""Members of objects, and arguments of calls, as forms without JSON can write them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.inference.grammar.alternatives import Schema, Unwritable
from worker.model.rendering.call_format import ParameterCalls

# No part of a delimiter, and read as they are written.
NAME = re.compile(r"[\w$@./-]+(?: [\w$@./-]+)*")


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    schema: Any
    is_required: bool


def list_properties(schema: Schema, calls: ParameterCalls) -> list[Property]:
    """List the properties of an object in the order in which a form has them.

    Others, which a schema may allow, are left out: what is written fulfils the schema. Raises
    Unwritable.
    """
    known = schema.get("properties")
    properties = dict(known) if isinstance(known, Mapping) else {}
    required = [name for name in _as_list(schema.get("required")) if isinstance(name, str)]
    others = schema.get("additionalProperties", True)
    for name in required:
        properties.setdefault(name, others)
    if any(properties[name] is False for name in required):
        raise Unwritable("a required property that is not allowed")
    properties = {name: value for name, value in properties.items() if value is not False}
    least, most = schema.get("minProperties", 0), schema.get("maxProperties", len(properties))
    if least > len(set(required)) or most < len(properties):
        raise Unwritable("'minProperties' or 'maxProperties'")
    return [
        Property(name, properties[name], name in required) for name in sort_names(properties, calls)
    ]


def sort_names(names: Iterable[str], calls: ParameterCalls) -> list[str]:
    """Put names in the order in which a form has them. Raises Unwritable."""
    listed = list(names)
    unwritable = next((name for name in listed if not NAME.fullmatch(name)), None)
    if unwritable is not None:
        raise Unwritable(f"the name {unwritable[:80]!r} of a property")
    return sorted(listed, key=str.lower) if calls.is_sorted else listed


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
