"""The reference of errors has every code that the sources name, each in one row."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/errors.md"
FIRST_CELL = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \|", re.MULTILINE)


def list_codes() -> Iterator[str]:
    """Codes given to errors of requests as literals."""
    for folder in ("app", "worker/inference"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield from (
                        str(keyword.value.value)
                        for keyword in node.keywords
                        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
                    )


def test_every_code_is_described() -> None:
    page = PAGE.read_text(encoding="utf-8")
    codes = {code for code in list_codes() if code != "None"}
    assert "context_length_exceeded" in codes
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


def test_a_code_of_jobs_is_described_once() -> None:
    _, _, jobs = PAGE.read_text(encoding="utf-8").partition("## Errors of a job")
    rows = [re.findall(r"`(\w+)`", cell) for cell in FIRST_CELL.findall(jobs)]
    counts = Counter(code for row in rows for code in row)
    assert "loss_not_finite" in counts
    assert [code for code, count in counts.items() if count > 1 and code != "code"] == []
