"""The table of settings, from the fields of `app.settings.Settings`."""

import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import ByteSize, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.settings import Settings, environment_variable
from scripts.reference.markdown import code, table

TYPE_NAMES: Mapping[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "path",
    SecretStr: "secret",
    ByteSize: "size",
}


def lines() -> Iterator[str]:
    """One row per field: environment variable, type, default and description."""
    rows = (_row(name, field) for name, field in Settings.model_fields.items())
    yield from table(["Variable", "Type, default", "Description"], rows)


def _row(name: str, field: FieldInfo) -> list[str]:
    kind, default = describe_type(field.annotation), describe_default(field.default)
    value = f"{kind}, {default}" if default else kind
    return [code(environment_variable(name)), value, field.description or ""]


def describe_type(annotation: Any) -> str:
    """A type in an operator's words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in TYPE_NAMES:
        return TYPE_NAMES[annotation]
    if origin is typing.Annotated:
        return describe_type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(code(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        names = [describe_type(each) for each in arguments if each is not type(None)]
        return " or ".join(dict.fromkeys(names))
    if origin in (list, tuple, set, frozenset):
        return "comma-separated list"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(code(member.value) for member in annotation)
    return str(getattr(annotation, "__name__", annotation))


def describe_default(default: Any) -> str:
    """A default as it would be written in the environment; empty for none."""
    if default is PydanticUndefined or default in (None, "", [], ()):
        return ""
    if isinstance(default, bool):
        return code(str(default).lower())
    if isinstance(default, list | tuple):
        return code(",".join(map(str, default)))
    if isinstance(default, ByteSize):
        return code(default.human_readable().replace(".0", ""))
    return code(default.value if isinstance(default, Enum) else default)
