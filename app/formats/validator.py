"""Whether a file can be trained on, told while it streams in."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.formats.dataset_summary import Summary
from app.formats.errors import Code, Fault
from app.formats.rows import LONGEST_LINE, Row, Rows

# A file with more faults than this is of another kind; judging it on would only cost time.
MOST_FAULTS = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """`format` is None if no example was of any. `examples` counts the faulty ones too.

    `faults` are the first of `fault_count`, in the file's order. `summary` is of the good examples.
    """

    format: str | None
    examples: int
    faults: tuple[Fault, ...]
    fault_count: int
    summary: Summary | None = None

    def details(self) -> str | None:
        """A file's `status_details`: the first fault in OpenAI's words, or None for a good file."""
        if not self.faults:
            return None
        others = self.fault_count - 1
        more = f" {others} more example(s) have faults." if others else ""
        return f"Invalid file format. {self.faults[0].reason}{more}"

    @property
    def code(self) -> Code | None:
        """The code of a job's error because of the first fault."""
        return self.faults[0].code if self.faults else None


class Judge:
    """Push a file's bytes with `feed`, then ask `finish` once."""

    def __init__(self, *, max_line_bytes: int = LONGEST_LINE, max_faults: int = 100) -> None:
        self._rows = Rows(longest_line=max_line_bytes)
        self._max_faults = max_faults
        self._faults: list[Fault] = []
        self._fault_count = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file. Returns when they are judged."""
        if not self._given_up:
            self._count(self._rows.feed(chunk))

    def finish(self) -> Verdict:
        """The verdict on all that was fed."""
        if not self._given_up:
            self._count(self._rows.finish())
        format = self._rows.format
        return Verdict(
            format=None if format is None else format.name,
            examples=self._rows.examples,
            faults=tuple(self._faults),
            fault_count=self._fault_count,
            summary=self._rows.summary,
        )

    def _count(self, examples: Iterable[Row | Fault]) -> None:
        for example in examples:
            if isinstance(example, Fault):
                self._fault_count += 1
                if self._fault_count <= self._max_faults:
                    self._faults.append(example)
                if self._given_up:
                    return

    @property
    def _given_up(self) -> bool:
        return self._fault_count >= MOST_FAULTS
