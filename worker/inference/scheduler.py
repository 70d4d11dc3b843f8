"""Who is computed next: requests wait in order, one prompt is staged, the others run in rows."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from worker.inference.messages import Request
from worker.inference.sampling import Sampler


@dataclass(slots=True, eq=False)
class Prefill:
    """The request on the stage; `done` of its prompt's tokens are computed.

    `total` is the sum [width] of their hidden states, where a mean of them is wanted.
    """

    request: Request
    num_computed: int = 0
    hidden_sum: Tensor | None = None


@dataclass(slots=True, eq=False)
class Sequence:
    """A choice that is being generated. Its row holds `length` tokens, `last` not among them."""

    request: Request
    choice: int
    sampler: Sampler
    length: int
    last_token: int = -1
    num_generated: int = 0


@dataclass(frozen=True, slots=True)
class SlotMove:
    """Row `source` holds `length` tokens and is to go on as row `target`."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class Scheduler:
    """Sequence i runs in row i. A request gets its rows all at once, when its turn comes."""

    num_slots: int
    waiting: deque[Request] = field(default_factory=deque)
    prefilling: Prefill | None = None
    running: list[Sequence] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self.prefilling or self.running)

    def active_requests(self) -> Iterator[Request]:
        """The requests that are being computed."""
        if self.prefilling:
            yield self.prefilling.request
        yield from dict.fromkeys(sequence.request for sequence in self.running)

    def next_prefill(self) -> Prefill | None:
        """The prompt to compute on: the staged one, or the next whose choices all find a row."""
        if self.prefilling is None and self.waiting:
            if len(self.running) + self.waiting[0].num_choices <= self.num_slots:
                self.prefilling = Prefill(self.waiting.popleft())
        return self.prefilling

    def add(self, sequence: Sequence) -> int:
        """Let a choice of the staged prompt run; its row."""
        self.running.append(sequence)
        return len(self.running) - 1

    def remove(self, sequence: Sequence) -> SlotMove | None:
        """Take a sequence out; the last one moves into its row, so that no gap remains."""
        row = self.running.index(sequence)
        last = self.running.pop()
        if last is sequence:
            return None
        self.running[row] = last
        return SlotMove(len(self.running), row, last.length)

    def clear(self) -> list[Request]:
        """Forget everything; the requests that were in here, each once."""
        requests = [*self.active_requests(), *self.waiting]
        self.waiting.clear()
        self.running.clear()
        self.prefilling = None
        return requests

    def finish_prefill(self) -> None:
        self.prefilling = None

    def abort(self, request: Request, choice: int | None = None) -> list[SlotMove]:
        """Forget a request wherever it is, or one choice of it; the moves that close the gaps."""
        if choice is None:
            self._abort_pending(request)
        leaving = [
            sequence
            for sequence in self.running
            if sequence.request is request and choice in (None, sequence.choice)
        ]
        moves = [self.remove(sequence) for sequence in leaving]
        return [move for move in moves if move]

    def _abort_pending(self, request: Request) -> None:
        if request in self.waiting:
            self.waiting.remove(request)
        if self.prefilling and self.prefilling.request is request:
            self.prefilling = None
