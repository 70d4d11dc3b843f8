"""What is known of a file as a whole: its labels, its duplicates, what contradicts itself."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.formats.errors import Flaw, shown
from app.formats.format import Facts

# Of so many rows the texts are remembered, as 16 bytes each: a tally is no copy of the file.
MOST_REMEMBERED = 200_000
# More distinct labels than this are most likely texts in the wrong field.
MOST_LABELS = 10_000
# Of so many labels the counts are told.
MOST_SHOWN = 20
# A label is rare if another is there so many times as often.
IMBALANCE = 20


@dataclass(frozen=True, slots=True)
class Summary:
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


def counted(labels: Mapping[str, int]) -> str:
    """A sentence on how often each label is there, the most frequent first."""
    ranked = sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))
    counts = ", ".join(f'"{shown(label)}" {count}' for label, count in ranked[:MOST_SHOWN])
    more = f" and {len(ranked) - MOST_SHOWN} more" if len(ranked) > MOST_SHOWN else ""
    return f"{len(ranked)} label(s): {counts}{more}."


class Tally:
    """Add the facts of one row after another, then ask for the summary."""

    def __init__(self) -> None:
        self._rows = 0
        self._labels: Counter[str] = Counter()
        self._first_lines: dict[str, int] = {}
        self._seen: dict[bytes, tuple[bytes, int]] = {}
        self._duplicates = _Count()
        self._conflicts = _Count()
        self._remarks: dict[str, _Count] = {}
        self._shape: str | None = None

    def add(self, facts: Facts, line: int) -> None:
        """Take in a good row. Raises Flaw if it does not go with those before it."""
        self._check_shape(facts)
        self._check_labels(facts)
        self._rows += 1
        for label in facts.labels:
            self._first_lines.setdefault(label, line)
            self._labels[label] += 1
        if facts.remark is not None:
            self._remarks.setdefault(facts.remark, _Count()).add(line)
        self._compare(facts, line)

    def summary(self, *, fewest_labels: int = 0) -> Summary:
        """`fewest_labels` as its Format has it: what is said of labels that a job learns is not
        said of those that are only counted."""
        notes = self._notes()
        if fewest_labels and self._rows:
            notes += self._on_labels(fewest_labels)
        return Summary(
            labels=dict(self._labels),
            first_lines=self._first_lines,
            duplicates=self._duplicates.count,
            conflicts=self._conflicts.count,
            notes=tuple(notes),
            shape=self._shape or "",
        )

    def _check_shape(self, facts: Facts) -> None:
        if self._shape is None:
            self._shape = facts.shape
        elif facts.shape != self._shape:
            raise Flaw(
                f" has '{facts.shape}', those before it have '{self._shape}'",
                "Write all examples of a file in one way.",
            )

    def _check_labels(self, facts: Facts) -> None:
        # Before any is kept: a file whose every row brings many would fill the memory with them.
        new = set(facts.labels).difference(self._labels)
        if len(self._labels) + len(new) > MOST_LABELS:
            raise Flaw(f" has the file's label number {MOST_LABELS + 1}", "Use fewer labels.")

    def _compare(self, facts: Facts, line: int) -> None:
        question, answer = _digest(facts.question), _digest(facts.answer)
        before = self._seen.get(question)
        if before is None:
            if len(self._seen) < MOST_REMEMBERED:
                self._seen[question] = (answer, line)
        elif before[0] == answer:
            self._duplicates.add(line, before[1])
        elif facts.conflicts:
            self._conflicts.add(line, before[1])

    def _notes(self) -> list[str]:
        notes = []
        if self._duplicates.count:
            count = self._duplicates
            notes.append(f"{count.count} example(s) are there more than once, {count.where}.")
        if self._conflicts.count:
            count = self._conflicts
            notes.append(f"{count.count} example(s) contradict another, {count.where}.")
        for text, count in self._remarks.items():
            notes.append(f"In {count.count} example(s) {text}, {count.where}.")
        return notes

    def _on_labels(self, fewest: int) -> list[str]:
        if len(self._labels) < fewest:
            return [self._on_too_few(fewest), *self._on_labels_seen_once()]
        return self._on_labels_seen_once() + self._on_balance()

    def _on_too_few(self, fewest: int) -> str:
        needed = f"a training file needs at least {fewest} label(s)"
        if not self._labels:
            return f"None of the {self._rows} example(s) has a label; {needed}."
        ((label, count),) = self._labels.items()
        having = "All" if count == self._rows else f"{count} of"
        return f'{having} {self._rows} example(s) have one label, "{shown(label)}"; {needed}.'

    def _on_labels_seen_once(self) -> list[str]:
        once = [label for label, count in self._labels.items() if count == 1]
        if not once:
            return []
        named = ", ".join(f'"{shown(name)}" (line {self._first_lines[name]})' for name in once[:3])
        more = f" and {len(once) - 3} more" if len(once) > 3 else ""
        return [f"Seen once, and not to be learned from that: {named}{more}."]

    def _on_balance(self) -> list[str]:
        ranked = self._labels.most_common()
        (most, often), (least, seldom) = ranked[0], ranked[-1]
        if often < IMBALANCE * seldom:
            return []
        return [
            f'The labels are unbalanced: "{shown(most)}" is there {often} times, '
            f'"{shown(least)}" {seldom} times. Consider class_weights where a job learns them.'
        ]


class _Count:
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
