"""First-come scheduling: requests wait in order, one prefills, the others decode in slots."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from worker.inference.messages import Request
from worker.inference.sampling import Sampler


@dataclass(slots=True, eq=False)
class Prefill:
    """The request being prefilled: `num_computed` of its prompt's tokens are done.

    `hidden_sum` is the sum [hidden size] of their hidden states, for pooling.
    """

    request: Request
    num_computed: int = 0
    hidden_sum: Tensor | None = None


@dataclass(slots=True, eq=False)
class Sequence:
    """A choice being generated. Its slot holds `length` tokens, `last_token` not included."""

    request: Request
    choice: int
    sampler: Sampler
    length: int
    last_token: int = -1
    num_generated: int = 0


@dataclass(frozen=True, slots=True)
class SlotMove:
    """Slot `source`, holding `length` tokens, moves to slot `target`."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class Scheduler:
    """Sequence i runs in slot i. A request waits until all its choices get a slot at once."""

    num_slots: int
    waiting: deque[Request] = field(default_factory=deque)
    prefilling: Prefill | None = None
    running: list[Sequence] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self.prefilling or self.running)

    def active_requests(self) -> Iterator[Request]:
        """Yield the requests that are prefilling or decoding, each once."""
        if self.prefilling:
            yield self.prefilling.request
        yield from dict.fromkeys(sequence.request for sequence in self.running)

    def next_prefill(self) -> Prefill | None:
        """Return the current prompt, or the next one if all of its choices get a slot."""
        if self.prefilling is None and self.waiting:
            if len(self.running) + self.waiting[0].num_choices <= self.num_slots:
                self.prefilling = Prefill(self.waiting.popleft())
        return self.prefilling

    def add(self, sequence: Sequence) -> int:
        """Start decoding a choice of the prefilled prompt; returns its slot."""
        self.running.append(sequence)
        return len(self.running) - 1

    def remove(self, sequence: Sequence) -> SlotMove | None:
        """Remove a sequence; the last one moves into its slot, so that no gap remains."""
        slot = self.running.index(sequence)
        last = self.running.pop()
        if last is sequence:
            return None
        self.running[slot] = last
        return SlotMove(len(self.running), slot, last.length)

    def clear(self) -> list[Request]:
        """Drop everything and return the requests, each once."""
        requests = [*self.active_requests(), *self.waiting]
        self.waiting.clear()
        self.running.clear()
        self.prefilling = None
        return requests

    def finish_prefill(self) -> None:
        self.prefilling = None

    def abort(self, request: Request, choice: int | None = None) -> list[SlotMove]:
        """Drop a request, or one choice of it; returns the moves that close the gaps."""
        if choice is None:
            self._abort_pending(request)
        aborted = [
            sequence
            for sequence in self.running
            if sequence.request is request and choice in (None, sequence.choice)
        ]
        moves = [self.remove(sequence) for sequence in aborted]
        return [move for move in moves if move]

    def _abort_pending(self, request: Request) -> None:
        if request in self.waiting:
            self.waiting.remove(request)
        if self.prefilling and self.prefilling.request is request:
            self.prefilling = None
