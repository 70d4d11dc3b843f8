"""Names in the documentation exist: settings, series, routes, files and links."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from app.settings import Settings, environment_variable
from scripts.reference import compatibility, http, metrics

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE_THE_SITE = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")
]
PAGES = [*OUTSIDE_THE_SITE, *sorted((ROOT / "docs").rglob("*.md"))]
# Other programs' variables with our prefixes.
FOREIGN_VARIABLES: set[str] = set()
VARIABLE = re.compile(r"\b(?:LUTHIER|S3|WANDB)_[A-Z0-9_]+[A-Z0-9]\b")
SERIES = re.compile(r"\bluthier_(?!task\b)[a-z0-9_]+[a-z0-9]\b")
ROUTE = re.compile(r"`(GET|POST|DELETE) (/[^`\s?]*)")
SOURCE_FILE = re.compile(r"`((?:app|worker|tests|bench|scripts|docs)/[\w./-]+\.\w+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def missing(
    find: Callable[[Path], Iterable[str]],
    exists: Callable[[Path, str], bool],
    pages: Iterable[Path] = PAGES,
) -> list[str]:
    """What pages name and what does not exist, with the page in front."""
    return sorted(
        {
            f"{page.relative_to(ROOT)}: {name}"
            for page in pages
            for name in find(page)
            if not exists(page, name)
        }
    )


def test_settings_exist() -> None:
    known = {environment_variable(name) for name in Settings.model_fields} | FOREIGN_VARIABLES
    assert (
        missing(lambda page: VARIABLE.findall(text_of(page)), lambda _, name: name in known) == []
    )


def test_prometheus_series_exist() -> None:
    pages = (*metrics.lines(), *metrics.engine_lines())
    exported = set(SERIES.findall("\n".join(pages)))
    found = missing(lambda page: SERIES.findall(text_of(page)), lambda _, name: name in exported)
    assert found == []


def test_routes_exist() -> None:
    known = set(routes("\n".join(http.operations())))
    # A page lists the operations of OpenAI that do not exist here.
    absent = "\n".join(compatibility.shares())
    found = missing(
        lambda page: routes(prose_of(page).replace(absent.strip(), "")),
        lambda _, route: route in known,
    )
    assert found == []


def routes(text: str) -> Iterator[str]:
    """Routes with a method before them, without /v1 and the names of their parameters."""
    for method, path in ROUTE.findall(text):
        if "…" not in path:
            yield f"{method} {re.sub(r'{[^}]*}', '{}', path.removeprefix('/v1'))}"


def test_source_files_exist() -> None:
    found = missing(
        lambda page: SOURCE_FILE.findall(prose_of(page)), lambda _, path: (ROOT / path).exists()
    )
    assert found == []


def test_tests_named_by_the_security_page_exist() -> None:
    """Its table names test files, and the tests in them that try an attack."""
    rows = [row for row in text_of(ROOT / "docs/security.md").splitlines() if row.startswith("| A")]
    assert len(rows) > 20
    absent = []
    for row in rows:
        tests = row.rstrip("| ").rsplit("| ", 1)[-1]
        for path, names in re.findall(r"`([\w/]+\.py)`(?:: ((?:`[^`]+`(?:, )?)+))?", tests):
            file = ROOT / path
            source = text_of(file) if file.exists() else ""
            absent += [path] if not source else []
            absent += [f"{path}: {n}" for n in re.findall(r"`(\w+)…?`", names) if n not in source]
    assert absent == []


def test_links_outside_the_site_work() -> None:
    """`make docs` checks the links inside docs/."""
    found = missing(
        lambda page: [link for link in LINK.findall(text_of(page)) if "://" not in link],
        lambda page, link: (page.parent / link).exists(),
        OUTSIDE_THE_SITE,
    )
    assert found == []


def test_images_exist() -> None:
    found = missing(
        lambda page: IMAGE.findall(text_of(page)),
        lambda page, image: (page.parent / image).is_file(),
    )
    assert found == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = text_of(ROOT / "zensical.toml")
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    assert [str(page) for page in pages if f'"{page}"' not in navigation] == []


@pytest.mark.parametrize(("unit", "limit"), [("bytes", 10_000), ("lines", 190)])
def test_readme_is_one_page(unit: str, limit: int) -> None:
    readme = text_of(ROOT / "README.md")
    size = len(readme.encode()) if unit == "bytes" else len(readme.splitlines())
    assert size <= limit
