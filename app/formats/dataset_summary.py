"""Summary of a training file: label counts, duplicates, contradictions and warnings."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.formats.errors import InvalidExample, escape_for_message
from app.formats.format import ExampleFacts
from app.formats.look_alike_labels import look_alike_notes

# Rows, from the first, that duplicates are searched among; two 8-byte digests of each are held.
MAX_REMEMBERED_ROWS = 200_000
# More distinct labels are most likely texts in the wrong field.
MAX_LABELS = 10_000
# Labels named in a sentence.
MAX_SHOWN_LABELS = 20
# Ratio of the most to the least frequent label from which a file counts as imbalanced.
IMBALANCE_RATIO = 20


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """Facts about the valid examples of a file.

    `labels` maps each label to its number of occurrences, `first_lines` to its first line. `shape`
    is the variant of the format that the file is written in. `notes` are sentences about issues
    that do not make the file invalid. The field names are those of the JSON in `files.summary`.
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
    """A sentence with the count of each label, most frequent first."""
    ranked = sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ranked[:MAX_SHOWN_LABELS]
    counts = ", ".join(f'"{escape_for_message(label)}" {count}' for label, count in shown)
    more = f" and {len(ranked) - len(shown)} more" if len(ranked) > len(shown) else ""
    return f"{len(ranked)} label(s): {counts}{more}."


class SummaryBuilder:
    """Accumulator: `add` the facts of each row, then `build` the summary."""

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
        """Add a valid row. Raises InvalidExample if it is not consistent with those before it."""
        self._check_shape(facts)
        self._check_labels(facts)
        self._row_count += 1
        for label in facts.labels:
            self._first_lines.setdefault(label, line)
            self._labels[label] += 1
        if facts.warning is not None:
            self.add_warning(facts.warning, line)
        self._track_duplicates(facts, line)

    def add_warning(self, warning: str, line: int) -> None:
        """Add a warning, a clause as in ExampleFacts, about the row of a line."""
        self._warnings.setdefault(warning, _Occurrences()).add(line)

    @property
    def has_warnings(self) -> bool:
        return bool(self._warnings)

    def build(self, *, min_labels: int = 0) -> DatasetSummary:
        """Build the summary. `min_labels` as in Format; 0 omits the notes on rare labels."""
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
                "Write all examples of a file in the same way.",
            )

    def _check_labels(self, facts: ExampleFacts) -> None:
        # Before any is stored: rows with many new labels each would exhaust the memory.
        # Not `set.difference`, which walks over all labels of the file for each row.
        new = {label for label in facts.labels if label not in self._labels}
        if len(self._labels) + len(new) > MAX_LABELS:
            raise InvalidExample(
                f" has the file's label number {MAX_LABELS + 1}", "Use fewer labels."
            )

    def _track_duplicates(self, facts: ExampleFacts, line: int) -> None:
        input, target = _digest(facts.input), _digest(facts.target)
        earlier = self._seen.get(input)
        if earlier is None:
            if len(self._seen) < MAX_REMEMBERED_ROWS:
                self._seen[input] = (target, line)
        elif earlier[0] == target:
            self._duplicates.add(line, earlier[1])
        elif facts.can_conflict:
            self._conflicts.add(line, earlier[1])

    def _notes(self) -> list[str]:
        notes = []
        if self._duplicates.count:
            rows = self._duplicates
            notes.append(f"{rows.count} example(s) are duplicates, {rows.location}.")
        if self._conflicts.count:
            rows = self._conflicts
            notes.append(f"{rows.count} example(s) contradict an earlier one, {rows.location}.")
        for text, rows in self._warnings.items():
            notes.append(f"In {rows.count} example(s) {text}, {rows.location}.")
        return notes

    def _label_notes(self, min_labels: int) -> list[str]:
        if len(self._labels) < min_labels:
            return [self._too_few_labels_note(min_labels), *self._single_occurrence_notes()]
        twins = look_alike_notes(self._labels, self._first_lines)
        return [*twins, *self._single_occurrence_notes(), *self._imbalance_notes()]

    def _too_few_labels_note(self, min_labels: int) -> str:
        needed = f"a training file needs at least {min_labels} label(s)"
        if not self._labels:
            return f"None of the {self._row_count} example(s) has a label; {needed}."
        ((label, count),) = self._labels.items()
        share = "All" if count == self._row_count else f"{count} of"
        name = escape_for_message(label)
        return f'{share} {self._row_count} example(s) have one label, "{name}"; {needed}.'

    def _single_occurrence_notes(self) -> list[str]:
        single = [label for label, count in self._labels.items() if count == 1]
        if not single:
            return []
        examples = ", ".join(
            f'"{escape_for_message(label)}" (line {self._first_lines[label]})'
            for label in single[:3]
        )
        more = f" and {len(single) - 3} more" if len(single) > 3 else ""
        return [f"Labels with a single example, too few to learn: {examples}{more}."]

    def _imbalance_notes(self) -> list[str]:
        ranked = self._labels.most_common()
        (most, most_count), (least, least_count) = ranked[0], ranked[-1]
        if most_count < IMBALANCE_RATIO * least_count:
            return []
        return [
            f'The labels are imbalanced: "{escape_for_message(most)}" appears {most_count} times, '
            f'"{escape_for_message(least)}" {least_count} times. '
            "Consider class_weights where a job learns them."
        ]


class _Occurrences:
    """The number of rows with some property, and the line of the first."""

    def __init__(self) -> None:
        self.count = 0
        self._first: tuple[int, ...] = ()

    def add(self, *lines: int) -> None:
        self.count += 1
        self._first = self._first or lines

    @property
    def location(self) -> str:
        line, *earlier = self._first
        return f"first in line {line}" + (f" (as in line {earlier[0]})" if earlier else "")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
