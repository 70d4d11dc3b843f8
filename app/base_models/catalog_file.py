"""Writes an entry into models.toml, behind what is in it: comments and order stay."""

import json
import tomllib
from pathlib import Path

from app.base_models.check import BaseModelCheck
from app.base_models.source import BaseModelFiles
from app.catalog import METHODS_BY_KIND, Catalog, CatalogError, CatalogModel
from app.storage.atomic_files import atomic_write

GIB = 2**30


def render_entry(model_id: str, files: BaseModelFiles, result: BaseModelCheck) -> str:
    """Render the entry, with a comment on size and path."""
    path = "the fast path" if result.is_fast else "transformers' forward pass"
    methods = ", ".join(map(_quote, METHODS_BY_KIND[result.kind]))
    lines = [
        f"# {result.model_type}, {result.weight_bytes / GIB:.1f} GiB of weights; {path}",
        *(f"# {note}" for note in result.notes),
        "[[model]]",
        f"id = {_quote(model_id)}",
        f"source = {_quote(files.source)}",
        f"kind = {_quote(result.kind)}",
        f"methods = [{methods}]",
        f"context_length = {result.context_length}",
    ]
    if files.license:
        lines.append(f"license = {_quote(files.license)}")
    return "\n".join(lines) + "\n"


def append_entry(path: Path, entry: str) -> None:
    """Append an entry to the file. Raises CatalogError if the result would not be a catalog."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    separator = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    extended = f"{text}{separator}{entry}"
    _check(path, extended)
    atomic_write(path, [extended.encode()])


def _check(path: Path, text: str) -> None:
    try:
        entries = tomllib.loads(text).get("model", [])
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path} is not valid TOML: {error}") from error
    Catalog(CatalogModel.from_json(entry) for entry in entries)


def _quote(text: str) -> str:
    # A JSON string of these characters is a TOML string too.
    return json.dumps(text, ensure_ascii=False)
