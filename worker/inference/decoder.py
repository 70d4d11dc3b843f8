"""The interface between the engine and a model's forward pass."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from worker.inference.adapter_memory import AdapterFiles
from worker.inference.prefix_cache import PrefixKeys
from worker.inference.slots import KvSlots


@dataclass(frozen=True, slots=True)
class PromptChunk:
    """Tokens `start`, `start + 1`, … of the prompt in a slot; the last `num_logits` need logits."""

    slot: int
    # Kept out of tracebacks and logs: it is user data.
    ids: Sequence[int] = field(repr=False)
    start: int = 0
    num_logits: int = 1


@dataclass(frozen=True, slots=True)
class PrefillOutput:
    """The output of one prefill chunk.

    hidden  hidden states after the final norm, [tokens, hidden size]
    logits  of the last tokens of the chunk, [num_logits, vocabulary]
    """

    hidden: Tensor
    logits: Tensor


def split_output(
    hidden: Tensor, chunks: Sequence[PromptChunk], head: Callable[[Tensor], Tensor], width: int
) -> list[PrefillOutput]:
    """Split hidden states by chunks, and compute the logits of the last tokens of each.

    `head`, the largest product, computes logits of the vocabulary's `width` for those alone.
    """
    parts = hidden.split([len(chunk.ids) for chunk in chunks])
    counts = [chunk.num_logits for chunk in chunks]
    wanted = torch.cat(
        [part[len(part) - count :] for part, count in zip(parts, counts, strict=True)]
    )
    logits = head(wanted) if len(wanted) else wanted.new_empty(0, width)
    outputs = zip(parts, logits.split(counts), strict=True)
    return [PrefillOutput(part, its_logits) for part, its_logits in outputs]


class Decoder(KvSlots, Protocol):
    """Decodes up to `num_slots` sequences, one per slot, beside prompts in other slots.

    It keeps the KV cache and the adapter of each of `num_slots + 1` slots; the caller assigns them.
    Logits are [rows, vocabulary]. Not thread-safe.
    """

    # True if several rows of `decode` may be tokens that follow each other in one slot, with the
    # same results to the bit as one at a time.
    takes_drafts: bool

    def check_adapter(self, files: AdapterFiles) -> None:
        """Raise InvalidAdapter if the adapter does not match this model."""

    def preload_adapter(self, files: AdapterFiles) -> Callable[[], None] | None:
        """Return a function that loads an adapter, for another thread; None if it is loaded.

        Whatever is not loaded yet `begin_prefill` loads, for which all streams wait.
        """

    def evict(self, adapter: AdapterFiles, used_slots: Collection[int]) -> bool:
        """Erase an adapter's weights, and what it computed, except in `used_slots`.

        Returns False if one of these still needs it.
        """

    def begin_prefill(self, slot: int, adapter: AdapterFiles | None) -> None:
        """Reset a slot for a new prompt. Raises OSError or InvalidAdapter."""

    def load_prefix(self, slot: int, keys: PrefixKeys, start: int, end: int) -> int:
        """Load what is known of a prompt from `start` to `end`; return how many tokens that is.

        0 if the decoder has no prefix cache. A long prefix takes several calls.
        """

    def save_prefix(self, slot: int, keys: PrefixKeys, start: int, end: int) -> None:
        """Keep the keys and values of the tokens from `start` to `end` of the prompt in a slot.

        For prompts that begin alike; the tokens before them have been kept in earlier calls.
        """

    def prefill(self, chunks: Sequence[PromptChunk]) -> list[PrefillOutput]:
        """Compute chunks of prompts in different slots, in one pass where the decoder can.

        Computing a chunk again is harmless, as long as no later one has been computed.
        """

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copy a slot that holds `length` tokens, and its adapter, to slot `target`."""

    def move_slot(self, source: int, target: int, length: int) -> None:
        """Move slot `source`, which holds `length` tokens, to slot `target`."""

    def release_slot(self, slot: int) -> None:
        """Erase a slot that is no longer used, and free its memory."""

    def swap_out(self, slot: int, length: int) -> object:
        """Return the KV cache (`length` tokens) and adapter of a slot, for `swap_in`."""

    def swap_in(self, slot: int, swapped_kv: object) -> None:
        """Restore what `swap_out` returned to a slot."""

    def decode(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        """Feed one token to each of `slots`, in ascending order; return the logits.

        `positions[i]` is the number of tokens that the i-th of these slots holds. Computing a
        position again is harmless: it overwrites the same cache entries. With `takes_drafts` a
        slot may occur several times, with ascending positions.
        """
