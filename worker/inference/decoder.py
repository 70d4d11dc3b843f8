"""The interface between the engine and a model's forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from worker.inference.adapter_cache import AdapterFiles


@dataclass(frozen=True, slots=True)
class PrefillOutput:
    """The output of one prefill chunk.

    hidden  hidden states after the final norm, [tokens, hidden size]
    logits  of the last tokens of the chunk, [num_logits, vocabulary]
    """

    hidden: Tensor
    logits: Tensor


class Decoder(Protocol):
    """Decodes up to `num_slots` sequences, one per slot, and prefills a prompt in its own slot.

    It keeps the KV cache and the adapter of each slot; the caller fills slots 0, 1, … without
    gaps. Logits are [slots, vocabulary]. Not thread-safe.
    """

    num_slots: int
    context_length: int

    def check_adapter(self, files: AdapterFiles) -> None:
        """Raise InvalidAdapter if the adapter does not match this model."""

    def begin_prefill(self, adapter: AdapterFiles | None) -> None:
        """Reset the prefill slot for a new prompt. Raises OSError or InvalidAdapter."""

    def prefill(self, ids: Sequence[int], start: int, *, num_logits: int = 1) -> PrefillOutput:
        """Compute the prompt's tokens `start`, `start + 1`, … in the prefill slot."""

    def fork_kv(self, slot: int, length: int) -> None:
        """Copy the prefilled prompt's KV cache (`length` tokens) and adapter to a slot."""

    def move_slot(self, source: int, target: int, length: int) -> None:
        """Move slot `source`, which holds `length` tokens, to slot `target`."""

    def decode(self, first_slot: int, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Feed one token to each of the slots `first_slot`, `first_slot + 1`, …; return the logits.

        `positions[i]` is the number of tokens that the i-th of these slots holds. Computing a
        position again is harmless: it overwrites the same cache entries.
        """
