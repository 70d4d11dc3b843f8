"""Markdown tables and inline code."""

from collections.abc import Iterable, Iterator, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table. Line breaks inside a cell become spaces, `|` is escaped."""
    yield _row(header)
    yield _row(["---"] * len(header))
    for cells in rows:
        yield _row([one_line(cell).replace("|", "\\|") for cell in cells])


def code(text: object) -> str:
    """Inline code."""
    return f"`{text}`"


def one_line(text: str) -> str:
    """Text without line breaks or repeated spaces."""
    return " ".join(text.split())


def first_paragraph(text: str) -> str:
    """The first paragraph of a docstring as one line."""
    return one_line(text.split("\n\n", 1)[0])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
