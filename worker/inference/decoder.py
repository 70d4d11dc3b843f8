"""What the engine needs of a model, whatever computes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from worker.inference.adapter_cache import AdapterFiles


@dataclass(frozen=True, slots=True)
class PrefillOutput:
    """What a piece of a prompt gave: hidden states [tokens, width] behind the last norm, and the
    logits [kept, vocabulary] of the last tokens, as many as were asked for."""

    hidden: Tensor
    logits: Tensor


class Decoder(Protocol):
    """Runs up to `rows` sequences, one a row, and one prompt beside them, on the stage.

    It remembers what each row holds and which adapter it uses; rows 0, 1, … are kept without gaps
    by the caller. Logits are [rows, vocabulary]. Not safe to share between threads.
    """

    num_slots: int
    context_length: int

    def check_adapter(self, files: AdapterFiles) -> None:
        """Raises AdapterRefused if the adapter does not fit this model."""

    def begin_prefill(self, adapter: AdapterFiles | None) -> None:
        """Empty the stage for a new prompt. Raises OSError or AdapterRefused."""

    def prefill(self, ids: Sequence[int], start: int, *, num_logits: int = 1) -> PrefillOutput:
        """Compute tokens `start`, `start + 1`, … of the staged prompt."""

    def fork_kv(self, row: int, length: int) -> None:
        """Copy the staged prompt of `length` tokens, and its adapter, to a row."""

    def move_slot(self, source: int, target: int, length: int) -> None:
        """Let row `target` go on as row `source`, which holds `length` tokens."""

    def decode(self, first: int, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """One more token each for rows `first`, `first + 1`, …: the logits behind them.

        `positions[i]` is the number of tokens that row holds. Computing a position again is
        harmless: it overwrites what stands there.
        """
