"""Selection of the tests that send an attack, and the summary of `make attacks`.

The name of such a test, or of its class, carries the attack's number: `test_a45_…`, `TestA8…`,
`test_a1_to_a7_…`. The table of docs/security.md lists the attacks.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

SECURITY_PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROW = re.compile(r"^\| A(\d+)(?:\u2013A(\d+))? \|", re.MULTILINE)
RANGE_IN_NAME = re.compile(r"::test_a(\d+)_to_a(\d+)_")
NAME = re.compile(r"::(?:TestA|test_a)(\d+)(?=[_A-Z])((?:_a\d+(?=_))*)")


def listed_attacks() -> list[int]:
    """The numbers of the attacks in the table of the security page, in its order."""
    found: list[int] = []
    for first, last in ROW.findall(SECURITY_PAGE.read_text(encoding="utf-8")):
        found.extend(range(int(first), int(last or first) + 1))
    return found


def attacks_of(nodeid: str) -> set[int]:
    """The numbers of the attacks that a test sends, from its name and its class's."""
    nodeid = nodeid.split("[", 1)[0]
    ranges = [range(int(a), int(b) + 1) for a, b in RANGE_IN_NAME.findall(nodeid)]
    found = {number for numbers in ranges for number in numbers}
    for first, others in NAME.findall(nodeid):
        found |= {int(first), *map(int, re.findall(r"\d+", others))}
    return found


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep only the tests that send an attack, if `--attacks` asks for it."""
    if not config.getoption("attacks"):
        return
    others = [item for item in items if not attacks_of(item.nodeid)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if attacks_of(item.nodeid)]


def summarize(reporter: pytest.TerminalReporter) -> None:
    """Print how many attacks held: each has a test that passed, and none that did not."""
    if not reporter.config.getoption("attacks"):
        return
    passed = _numbers(reporter.getreports("passed"))
    missed = {
        outcome: _numbers(reporter.getreports(outcome))
        for outcome in ("failed", "error", "skipped")
    }
    listed = listed_attacks()
    held = [number for number in listed if number in passed - set().union(*missed.values())]
    reporter.section("attacks")
    for number in listed:
        if number not in held:
            outcomes = [outcome for outcome, numbers in missed.items() if number in numbers]
            reporter.write_line(f"A{number}: {', '.join(outcomes) or 'no test was run'}")
    reporter.write_line(f"attacks held: {len(held)}/{len(listed)}")


def _numbers(reports: Iterable[pytest.TestReport]) -> set[int]:
    return {number for report in reports for number in attacks_of(report.nodeid)}
