"""The code map, from the docstrings of modules. Nothing is imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

from scripts.reference.markdown import code, first_paragraph, table

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "worker")


def lines() -> Iterator[str]:
    """A section per folder with a row per module."""
    for package in PACKAGES:
        for folder in (ROOT / package, *sorted(filter(Path.is_dir, (ROOT / package).rglob("*")))):
            modules = sorted(folder.glob("*.py"))
            if modules:
                yield from _section(folder, modules)


def _section(folder: Path, modules: list[Path]) -> Iterator[str]:
    rows = [
        [code(path.name), module_summary(path)] for path in modules if path.name != "__init__.py"
    ]
    package_summary = module_summary(folder / "__init__.py")
    if not rows and not package_summary:
        return
    yield from (f"## {folder.relative_to(ROOT).as_posix()}/", "")
    if package_summary:
        yield from (package_summary, "")
    if rows:
        yield from (*table(["Module", "Purpose"], rows), "")


def module_summary(path: Path) -> str:
    """The first paragraph of a module's docstring; empty if it has none."""
    if not path.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return first_paragraph(docstring or "")
