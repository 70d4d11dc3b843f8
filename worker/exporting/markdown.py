"""Markdown of model cards: what users wrote is in it as code, neither markup nor HTML."""

import re
from collections.abc import Sequence
from typing import Any

MAX_LENGTH = 80
BACKTICKS = re.compile("`+")


def code(text: str) -> str:
    """Render a text of any content as code on one line, cut to MAX_LENGTH characters."""
    line = "".join(char if char.isprintable() else " " for char in text[: MAX_LENGTH + 1])
    line = line if len(line) <= MAX_LENGTH else f"{line[:MAX_LENGTH]}…"
    # Only a run of as many backticks would end it.
    longest = max((len(run) for run in BACKTICKS.findall(line)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest or not line.strip() else ""
    return f"{fence}{padding}{line or ' '}{padding}{fence}"


def table(rows: Sequence[tuple[str, Any]]) -> str:
    """Render rows of a name and a value. A bar would end the cell, in code too."""
    lines = (f"| {_escape(name)} | {_escape(str(value))} |" for name, value in rows)
    return "\n".join(["| | |", "|---|---|", *lines])


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")
