"""Plan of an import: evals, items and runs that a document becomes, and what it does not become."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

MAX_EVALS = 50
MAX_RUNS = 1000
# Of all files together.
MAX_ITEM_BYTES = 16 * 2**20
# Distinct ones; those that follow are counted together.
MAX_DIFFERENCES = 200
MAX_PLACES = 20
MAX_TEXT_CHARS = 300


class ImportFault(Exception):
    """A document that nothing can be made of; the message says why."""


class ImportFormat(StrEnum):
    OPENAI = "openai"
    PROMPTFOO = "promptfoo"


class Outcome(StrEnum):
    """`left_out` has no counterpart here; `changed` has one that may give other results."""

    LEFT_OUT = "left_out"
    CHANGED = "changed"


class Difference(BaseModel):
    """Part of the document that is missing here, or differs. `places` are the first of `count`."""

    outcome: Outcome
    subject: str
    reason: str
    count: int = 1
    places: list[str]


class PlannedRun(BaseModel):
    """The body of a run. `file` is the number of the file that is its source, if one is."""

    name: str | None = None
    metadata: dict[str, Any] | None = None
    data_source: dict[str, Any]
    file: int | None = None
    place: str


class PlannedEval(BaseModel):
    """The body of an eval, each criterion with its place in the document."""

    name: str | None = None
    metadata: dict[str, Any] | None = None
    data_source_config: dict[str, Any]
    criteria: list[tuple[str, dict[str, Any]]]
    runs: list[PlannedRun] = []
    # Of the items, if the eval has some of its own.
    file: int | None = None
    place: str


class ImportPlan(BaseModel):
    """Evals, files and runs to make of a document. A file is its lines."""

    format: ImportFormat
    evals: list[PlannedEval]
    files: list[str]
    differences: list[Difference]


class DifferenceList:
    """Differences by what they are of and why, each with its first places."""

    def __init__(self, differences: Iterable[Difference] = ()) -> None:
        self._by_key = {(each.outcome, each.subject, each.reason): each for each in differences}
        # All of each, where the difference lists the first ones.
        self._places = {key: set(each.places) for key, each in self._by_key.items()}

    def add(self, outcome: Outcome, subject: str, reason: str, place: str) -> None:
        subject, reason, place = (text[:MAX_TEXT_CHARS] for text in (subject, reason, place))
        key = (outcome, subject, reason)
        if key not in self._by_key and len(self._by_key) >= MAX_DIFFERENCES:
            subject, reason = "others", "Others, which are not listed one by one."
            key = (outcome, subject, reason)
        known = self._by_key.get(key)
        if known is None:
            self._by_key[key] = Difference(
                outcome=outcome, subject=subject, reason=reason, places=[place]
            )
            self._places[key] = {place}
            return
        if place in self._places[key]:
            # As of an assertion of all tests, or of each combination of a test's variables.
            return
        self._places[key].add(place)
        known.count += 1
        if len(known.places) < MAX_PLACES:
            known.places.append(place)

    def leave_out(self, subject: str, reason: str, place: str) -> None:
        self.add(Outcome.LEFT_OUT, subject, reason, place)

    def change(self, subject: str, reason: str, place: str) -> None:
        self.add(Outcome.CHANGED, subject, reason, place)

    def list_all(self) -> list[Difference]:
        return list(self._by_key.values())
