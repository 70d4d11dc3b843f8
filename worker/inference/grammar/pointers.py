"""JSON pointers to the parts of a JSON Schema."""

from collections.abc import Mapping
from typing import Any


def resolve(schema: Mapping[str, Any], pointer: str) -> Any:
    """Find the part of a schema that a JSON pointer names; None if there is none."""
    part: Any = schema
    for name in pointer.removeprefix("#").split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(part, list) and name.isdecimal() and len(name) < 6:
            part = part[int(name)] if int(name) < len(part) else None
        else:
            part = part.get(name) if isinstance(part, Mapping) else None
    return part if pointer == "#" or pointer.startswith("#/") else None


def escape(name: str) -> str:
    """Escape a name in a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
