"""The HTTP operations, from the OpenAPI document, and the errors they answer with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import app.batches.requests  # noqa: F401  Its errors exist only in the process that works off batches.
from app.errors import ApiError
from app.main import create_app
from app.settings import Settings
from scripts.reference.markdown import code, first_paragraph, table

ROOT = Path(__file__).resolve().parents[2]


def operations() -> Iterator[str]:
    """A section per tag with a row per operation."""
    by_tag: dict[str, list[list[str]]] = {}
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method, path, operation))
    for tag, rows in sorted(by_tag.items()):
        yield from (f"## {tag.replace('_', ' ').replace('-', ' ').capitalize()}", "")
        yield from (*table(["Operation", "Key", "Name", "Description"], rows), "")


def document() -> dict[str, Any]:
    # The application connects to nothing before the first request.
    settings = Settings(
        database_url="postgresql://localhost/luthier",
        redis_url="redis://localhost",
        models_file=ROOT / "models.toml",
    )
    return create_app(settings).openapi()


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> list[str]:
    schemes = [name for scheme in operation.get("security") or [] for name in scheme]
    key = "none" if not schemes else "admin" if "admin" in schemes[0].lower() else "project"
    name = str(operation.get("summary", "")).capitalize()
    description = first_paragraph(operation.get("description", ""))
    return [code(f"{method.upper()} {path}"), key, name, description]


def errors() -> Iterator[str]:
    """One row per error class of the API, by status."""
    # The engine has more, which exist only in a process that has imported it.
    kinds = (kind for kind in _subclasses(ApiError) if kind.__module__.startswith("app."))
    rows = sorted(map(_error, kinds))
    yield from table(["Status", "`type`", "`code`", "Default message"], rows)


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _subclasses(subclass)


def _error(kind: type[Any]) -> list[str]:
    try:
        error = kind()
    except TypeError:
        # Some name the object that was asked for.
        error = kind("NAME")
    body = error.body()["error"]
    return [
        code(kind.status),
        code(body["type"]),
        code("null" if body["code"] is None else body["code"]),
        first_paragraph(str(body["message"])),
    ]
