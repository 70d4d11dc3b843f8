"""Training data of chat and preference jobs: rows, and what their owner should know about them."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from app.formats import iter_examples, reasoning
from app.wire.long_rows import LongRowPolicy
from worker.model.rendering import RenderedChat
from worker.run_folder import Preparing, RunFolder
from worker.training.errors import user_error

RowT = TypeVar("RowT")

# The supervisor kills a process that writes no events as hung.
PROGRESS_INTERVAL_SECONDS = 10.0
MAX_LISTED_EXAMPLES = 10
READ_BYTES = 2**20
OTHER_DATA_WARNING = (
    "The training rows are now rendered in another way than when this job began, so it starts "
    "again from its first step."
)


@dataclass(slots=True)
class TurnCount:
    """Counts the assistant's turns of a file, and those that its rows teach."""

    num_turns: int = 0
    num_learned: int = 0
    first_incomplete_example: int | None = None

    def add(self, number: int, chat: RenderedChat) -> None:
        self.num_turns += chat.num_turns
        self.num_learned += chat.num_learned
        if chat.num_learned < chat.num_turns and self.first_incomplete_example is None:
            self.first_incomplete_example = number

    def warnings(self, param: str, context_length: int) -> list[str]:
        """Say how many turns are lost, if any."""
        if self.first_incomplete_example is None:
            return []
        return [
            f"{self.num_learned} of {self.num_turns} assistant turns of the {param} are learned; "
            f"example {self.first_incomplete_example} is the first that loses any. The others do "
            f"not fit into the model's context of {context_length} tokens, or its chat template "
            "does not render them as answers to the messages before them."
        ]


@dataclass(slots=True)
class LongRows:
    """Counts the examples of a file that are longer than `max_tokens`.

    Truncated chats are learned as far as their answers fit; texts are learned up to the cut.
    """

    policy: LongRowPolicy
    max_tokens: int
    num_examples: int = 0
    numbers: list[int] = field(default_factory=list)
    num_left_out: int = 0

    def add(self, number: int, *, is_left_out: bool) -> None:
        """Count a long example."""
        self.numbers.append(number)
        self.num_left_out += is_left_out

    def require_none(self, param: str) -> None:
        """Raise TrainingError if long examples are errors, and the file has any."""
        if self.numbers and self.policy == LongRowPolicy.ERROR:
            advice = "Shorten them, or use long_rows 'truncate' or 'drop'."
            raise user_error(f"invalid_{param}", f"{self._describe(param)} {advice}", param)

    def warnings(self, param: str) -> list[str]:
        """Say how many examples are too long, which, and what was done with them."""
        if not self.numbers:
            return []
        return [f"{self._describe(param)} {self._describe_outcome()}"]

    def _describe(self, param: str) -> str:
        shown = ", ".join(map(str, self.numbers[:MAX_LISTED_EXAMPLES]))
        more = len(self.numbers) - MAX_LISTED_EXAMPLES
        return (
            f"{len(self.numbers)} of {self.num_examples} examples of the {param.replace('_', ' ')} "
            f"are longer than {self.max_tokens} tokens, the most that a row may have: examples "
            f"{shown}{f' and {more} more' if more > 0 else ''}."
        )

    def _describe_outcome(self) -> str:
        if self.policy == LongRowPolicy.DROP:
            return "They are left out (long_rows is 'drop')."
        left_out = (
            f" {self.num_left_out} of them are left out, since no answer fits."
            if self.num_left_out
            else ""
        )
        return (
            "They are truncated (long_rows is 'truncate'): answers that do not fit as a whole are "
            f"not learned, completions are learned up to the cut.{left_out}"
        )


@dataclass(frozen=True, slots=True)
class ChatData(Generic[RowT]):
    """Rows of a file, with warnings for the job's owner."""

    rows: list[RowT]
    warnings: list[str] = field(default_factory=list)


def has_reasoning(path: Path) -> bool:
    """Check whether any answer to learn in a file of chats has reasoning."""
    return _mentions_reasoning(path) and any(
        map(reasoning.teaches_reasoning, iter_examples(path, reasoning.ANSWER_READERS))
    )


def _mentions_reasoning(path: Path) -> bool:
    with path.open("rb") as file:
        tail = b""
        while block := file.read(READ_BYTES):
            if reasoning.has_mark(tail + block):
                return True
            tail = block[-reasoning.MAX_MARK_BYTES :]
    return False


def digest_rows(rows: Sequence[Any]) -> str:
    """Compute a digest of rendered rows, or of pairs of them."""
    digest = hashlib.sha256()
    for row in rows:
        for part in (row.chosen, row.rejected) if hasattr(row, "chosen") else (row,):
            for numbers in (part.ids, part.label_positions):
                digest.update(len(numbers).to_bytes(4, "little"))
                digest.update(np.asarray(numbers, dtype=np.int32).tobytes())
    return digest.hexdigest()


def make_progress_reporter(folder: RunFolder) -> Callable[[int], None]:
    """Make a function that reports the number of examples read, now and then."""
    reported_at = time.monotonic()

    def report(done: int) -> None:
        nonlocal reported_at
        now = time.monotonic()
        if now - reported_at >= PROGRESS_INTERVAL_SECONDS:
            reported_at = now
            folder.append_event(Preparing(done=done, total=done))

    return report


def ignore_progress(_done: int) -> None:
    """Report nothing."""
