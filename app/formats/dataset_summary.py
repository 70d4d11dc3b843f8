"""What is known of a file as a whole: its labels, its duplicates, what contradicts itself."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.formats.errors import InvalidExample, escape_for_message
from app.formats.format import ExampleFacts

# Of so many rows the texts are remembered, as 16 bytes each: a tally is no copy of the file.
MAX_REMEMBERED_ROWS = 200_000
# More distinct labels than this are most likely texts in the wrong field.
MAX_LABELS = 10_000
# Of so many labels the counts are told.
MAX_SHOWN_LABELS = 20
# A label is rare if another is there so many times as often.
IMBALANCE_RATIO = 20


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """`labels` has for each label how often it is there, and `first_lines` where first. `shape` is
    which of its format's shapes the file has.

    `notes` are sentences on what does not keep a file from being used, but is worth a look.
    """

    labels: dict[str, int]
    first_lines: dict[str, int]
    duplicates: int
    conflicts: int
    notes: tuple[str, ...]
    shape: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def label_counts_sentence(labels: Mapping[str, int]) -> str:
    """A sentence on how often each label is there, the most frequent first."""
    ranked = sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))
    counts = ", ".join(
        f'"{escape_for_message(label)}" {count}' for label, count in ranked[:MAX_SHOWN_LABELS]
    )
    more = f" and {len(ranked) - MAX_SHOWN_LABELS} more" if len(ranked) > MAX_SHOWN_LABELS else ""
    return f"{len(ranked)} label(s): {counts}{more}."


class SummaryBuilder:
    """Add the facts of one row after another, then ask for the summary."""

    def __init__(self) -> None:
        self._row_count = 0
        self._labels: Counter[str] = Counter()
        self._first_lines: dict[str, int] = {}
        self._seen: dict[bytes, tuple[bytes, int]] = {}
        self._duplicates = _Occurrences()
        self._conflicts = _Occurrences()
        self._warnings: dict[str, _Occurrences] = {}
        self._shape: str | None = None

    def add(self, facts: ExampleFacts, line: int) -> None:
        """Take in a good row. Raises Flaw if it does not go with those before it."""
        self._check_shape(facts)
        self._check_labels(facts)
        self._row_count += 1
        for label in facts.labels:
            self._first_lines.setdefault(label, line)
            self._labels[label] += 1
        if facts.warning is not None:
            self._warnings.setdefault(facts.warning, _Occurrences()).add(line)
        self._track_duplicates(facts, line)

    def build(self, *, min_labels: int = 0) -> DatasetSummary:
        """`fewest_labels` as its Format has it: what is said of labels that a job learns is not
        said of those that are only counted."""
        notes = self._notes()
        if min_labels and self._row_count:
            notes += self._label_notes(min_labels)
        return DatasetSummary(
            labels=dict(self._labels),
            first_lines=self._first_lines,
            duplicates=self._duplicates.count,
            conflicts=self._conflicts.count,
            notes=tuple(notes),
            shape=self._shape or "",
        )

    def _check_shape(self, facts: ExampleFacts) -> None:
        if self._shape is None:
            self._shape = facts.shape
        elif facts.shape != self._shape:
            raise InvalidExample(
                f" has '{facts.shape}', those before it have '{self._shape}'",
                "Write all examples of a file in one way.",
            )

    def _check_labels(self, facts: ExampleFacts) -> None:
        # Before any is kept: a file whose every row brings many would fill the memory with them.
        new = set(facts.labels).difference(self._labels)
        if len(self._labels) + len(new) > MAX_LABELS:
            raise InvalidExample(
                f" has the file's label number {MAX_LABELS + 1}", "Use fewer labels."
            )

    def _track_duplicates(self, facts: ExampleFacts, line: int) -> None:
        question, answer = _digest(facts.input), _digest(facts.target)
        before = self._seen.get(question)
        if before is None:
            if len(self._seen) < MAX_REMEMBERED_ROWS:
                self._seen[question] = (answer, line)
        elif before[0] == answer:
            self._duplicates.add(line, before[1])
        elif facts.can_conflict:
            self._conflicts.add(line, before[1])

    def _notes(self) -> list[str]:
        notes = []
        if self._duplicates.count:
            count = self._duplicates
            notes.append(f"{count.count} example(s) are there more than once, {count.where}.")
        if self._conflicts.count:
            count = self._conflicts
            notes.append(f"{count.count} example(s) contradict another, {count.where}.")
        for text, count in self._warnings.items():
            notes.append(f"In {count.count} example(s) {text}, {count.where}.")
        return notes

    def _label_notes(self, fewest: int) -> list[str]:
        if len(self._labels) < fewest:
            return [self._too_few_labels_note(fewest), *self._single_occurrence_notes()]
        return self._single_occurrence_notes() + self._imbalance_notes()

    def _too_few_labels_note(self, fewest: int) -> str:
        needed = f"a training file needs at least {fewest} label(s)"
        if not self._labels:
            return f"None of the {self._row_count} example(s) has a label; {needed}."
        ((label, count),) = self._labels.items()
        having = "All" if count == self._row_count else f"{count} of"
        return f'{having} {self._row_count} example(s) have one label, "{escape_for_message(label)}"; {needed}.'

    def _single_occurrence_notes(self) -> list[str]:
        once = [label for label, count in self._labels.items() if count == 1]
        if not once:
            return []
        named = ", ".join(
            f'"{escape_for_message(name)}" (line {self._first_lines[name]})' for name in once[:3]
        )
        more = f" and {len(once) - 3} more" if len(once) > 3 else ""
        return [f"Seen once, and not to be learned from that: {named}{more}."]

    def _imbalance_notes(self) -> list[str]:
        ranked = self._labels.most_common()
        (most, often), (least, seldom) = ranked[0], ranked[-1]
        if often < IMBALANCE_RATIO * seldom:
            return []
        return [
            f'The labels are unbalanced: "{escape_for_message(most)}" is there {often} times, '
            f'"{escape_for_message(least)}" {seldom} times. Consider class_weights where a job learns them.'
        ]


class _Occurrences:
    """How many rows there are of a kind, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: tuple[int, ...] = ()

    def add(self, *lines: int) -> None:
        self.count += 1
        self._first = self._first or lines

    @property
    def where(self) -> str:
        line, *other = self._first
        return f"first in line {line}" + (f" (as in line {other[0]})" if other else "")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
