"""Training data of chat and preference jobs: rows, and what their owner should know about them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from worker.model.rendering import RenderedChat
from worker.run_folder import Preparing, RunFolder

RowT = TypeVar("RowT")

# The supervisor kills a process that writes no events as hung.
PROGRESS_INTERVAL_SECONDS = 10.0


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


@dataclass(frozen=True, slots=True)
class ChatData(Generic[RowT]):
    """Rows of a file, with warnings for the job's owner."""

    rows: list[RowT]
    warnings: list[str] = field(default_factory=list)


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
