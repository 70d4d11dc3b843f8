"""The table of an engine's options, from the fields of `app.engine_options.EngineOptions`."""

from collections.abc import Iterator
from dataclasses import fields

from app.engine_options import EngineOptions
from scripts.reference.markdown import code, table
from scripts.reference.settings import describe_default


def lines() -> Iterator[str]:
    """One row per key: name, default and description."""
    rows = (
        [code(option.name), describe_default(option.default or ""), option.metadata["description"]]
        for option in fields(EngineOptions)
    )
    yield from table(["Key", "Default", "Meaning"], rows)
