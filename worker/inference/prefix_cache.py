"""Prefix caching: keys and values of the beginnings of prompts, kept for prompts that begin alike.

Blocks of `BLOCK_TOKENS` tokens are found by a digest of all tokens up to their end, as in vLLM's
automatic prefix caching (Kwon et al. 2023, arXiv:2309.06180, section 4.4), and of their scope: the
adapter, whose weights they were computed with, and the project, since the time to the first token
would tell other projects which prompts are known.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

import numpy as np
from torch import Tensor

# Short enough that little of a shared beginning is lost, long enough that a lookup costs little
# compared with the tokens that it saves.
BLOCK_TOKENS = 64
# Blocks found at once; more would hold up the running streams while they are copied.
MAX_BLOCKS_FOUND = 8
# OpenAI's prompt cache keeps prefixes for 5 to 10 minutes after their last use.
MAX_IDLE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class PrefixScope:
    """Limits of sharing: a project and an adapter, by its immutable prefix in storage."""

    project: str
    adapter: str | None


@dataclass(slots=True)
class _Block:
    """Keys and values of each layer, in turn: [kv heads, BLOCK_TOKENS, head dim]."""

    scope: PrefixScope
    tensors: list[Tensor]
    used_at: float


class PrefixCache:
    """Least recently used blocks are forgotten, and all after a while. Not thread-safe."""

    def __init__(self, max_tokens: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_blocks = max_tokens // BLOCK_TOKENS
        self._clock = clock
        # Least recently used first.
        self._blocks: OrderedDict[bytes, _Block] = OrderedDict()

    def find(self, scope: PrefixScope, ids: Sequence[int], start: int = 0) -> list[list[Tensor]]:
        """Find the next blocks of the longest known beginning of `ids` from `start` on, in order.

        At most `MAX_BLOCKS_FOUND`. None if `start` is not the beginning of a block.
        """
        self._forget_idle()
        if start % BLOCK_TOKENS:
            return []
        known = list(takewhile(self._blocks.__contains__, _keys(scope, ids)))
        # Last to first: a block cannot be found without those before it, so these go last.
        for key in reversed(known):
            self._touch(key)
        first = start // BLOCK_TOKENS
        return [self._blocks[key].tensors for key in known[first : first + MAX_BLOCKS_FOUND]]

    def add(
        self, scope: PrefixScope, ids: Sequence[int], read: Callable[[int], list[Tensor]]
    ) -> None:
        """Keep the whole blocks of `ids` that are not known; `read` copies the one at a position.

        None beyond the size of the cache: they would push out those that lead to them.
        """
        self._forget_idle()
        keys = list(islice(_keys(scope, ids), self._max_blocks))
        for index, key in reversed(list(enumerate(keys))):
            if key in self._blocks:
                self._touch(key)
                continue
            if len(self._blocks) == self._max_blocks:
                self._blocks.popitem(last=False)
            self._blocks[key] = _Block(scope, read(index * BLOCK_TOKENS), self._clock())

    def _touch(self, key: bytes) -> None:
        self._blocks[key].used_at = self._clock()
        self._blocks.move_to_end(key)

    def _forget_idle(self) -> None:
        oldest = self._clock() - MAX_IDLE_SECONDS
        while self._blocks and next(iter(self._blocks.values())).used_at < oldest:
            self._blocks.popitem(last=False)

    def discard(self, adapter: str) -> None:
        """Forget everything that was computed with an adapter."""
        stale = [key for key, block in self._blocks.items() if block.scope.adapter == adapter]
        for key in stale:
            del self._blocks[key]


def _keys(scope: PrefixScope, ids: Sequence[int]) -> Iterator[bytes]:
    """Yield the keys of the whole blocks of `ids`, in order."""
    digest = hashlib.blake2b(repr(scope).encode(), digest_size=16)
    for start in range(0, len(ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        digest.update(np.asarray(ids[start : start + BLOCK_TOKENS], dtype=np.int64).tobytes())
        yield digest.digest()
