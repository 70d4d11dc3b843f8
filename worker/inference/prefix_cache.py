"""Prefix caching: keys and values of the beginnings of prompts, kept for prompts that begin alike.

Blocks of `BLOCK_TOKENS` tokens are found by a digest of all tokens up to their end, as in vLLM's
automatic prefix caching (Kwon et al. 2023, arXiv:2309.06180, section 4.4), and of their scope: the
adapter, whose weights they were computed with, and the project, since the time to the first token
would tell other projects which prompts are known.
"""

import hashlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

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


@dataclass(frozen=True, slots=True)
class PrefixKeys:
    """Keys of the whole blocks of one prompt, in order.

    Computed once per prompt: each is a digest of all tokens up to the end of its block.
    """

    scope: PrefixScope
    blocks: tuple[bytes, ...]

    @classmethod
    def of(cls, scope: PrefixScope, ids: Sequence[int]) -> "PrefixKeys":
        digest = hashlib.blake2b(repr(scope).encode(), digest_size=16)
        tokens = np.asarray(ids, dtype=np.int64)
        blocks = []
        for end in range(BLOCK_TOKENS, len(ids) + 1, BLOCK_TOKENS):
            digest.update(tokens[end - BLOCK_TOKENS : end].tobytes())
            blocks.append(digest.digest())
        return cls(scope, tuple(blocks))

    def whole_blocks(self, start: int, end: int) -> tuple[bytes, ...]:
        """Keys of the blocks that lie between two positions of the prompt."""
        return self.blocks[-(-start // BLOCK_TOKENS) : end // BLOCK_TOKENS]


@dataclass(slots=True)
class _Block:
    """Keys and values of each layer, in turn: [kv heads, BLOCK_TOKENS, head dim]."""

    adapter: str | None
    tensors: list[Tensor]
    used_at: float


_Blocks = OrderedDict[bytes, _Block]


class PrefixCache:
    """Least recently used blocks are forgotten, and all after a while. Not thread-safe.

    When the cache is full, the project with the most blocks gives up one of its own, so that no
    project can push out what others hold below an equal share.
    """

    def __init__(self, max_tokens: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_blocks = max_tokens // BLOCK_TOKENS
        self._num_blocks = 0
        self._clock = clock
        # By project, least recently used first.
        self._projects: defaultdict[str, _Blocks] = defaultdict(OrderedDict)

    def find(self, keys: PrefixKeys, first: int, end: int) -> list[list[Tensor]]:
        """Find the known blocks from `first` on up to the first unknown one or `end`, in order.

        At most `MAX_BLOCKS_FOUND`.
        """
        self._forget_idle()
        known = self._projects[keys.scope.project]
        wanted = keys.blocks[first : min(first + MAX_BLOCKS_FOUND, end)]
        found = list(takewhile(known.__contains__, wanted))
        self._touch(keys.scope.project, found)
        return [known[key].tensors for key in found]

    def add(
        self, keys: PrefixKeys, first: int, end: int, read: Callable[[int], list[Tensor]]
    ) -> None:
        """Keep the blocks from `first` to `end` that are not known; `read` copies one, by index.

        None that would push out those that lead to them.
        """
        self._forget_idle()
        own, adapter = self._projects[keys.scope.project], keys.scope.adapter
        for index in range(first, min(end, self._max_blocks)):
            key = keys.blocks[index]
            if key in own:
                continue
            if self._num_blocks == self._max_blocks and not self._evict(own, keys.blocks[:index]):
                return
            own[key] = _Block(adapter, read(index), self._clock())
            self._num_blocks += 1

    def touch(self, keys: PrefixKeys) -> None:
        """Mark all blocks of a prompt as used now, if they are known."""
        known = self._projects[keys.scope.project]
        self._touch(keys.scope.project, [key for key in keys.blocks if key in known])

    def _touch(self, project: str, keys: Sequence[bytes]) -> None:
        """Mark blocks as used: last to first, so that those that lead to others go last."""
        blocks, now = self._projects[project], self._clock()
        for key in reversed(keys):
            blocks[key].used_at = now
            blocks.move_to_end(key)

    def _evict(self, own: _Blocks, kept: Sequence[bytes]) -> bool:
        """Forget a block of the largest project, or of `own` if it is as large.

        False if that block must be `kept`.
        """
        largest = max(own, *self._projects.values(), key=len)
        if next(iter(largest)) in kept:
            return False
        largest.popitem(last=False)
        self._num_blocks -= 1
        return True

    def _forget_idle(self) -> None:
        oldest = self._clock() - MAX_IDLE_SECONDS
        for project, blocks in list(self._projects.items()):
            while blocks and next(iter(blocks.values())).used_at < oldest:
                blocks.popitem(last=False)
                self._num_blocks -= 1
            if not blocks:
                del self._projects[project]

    def discard(self, adapter: str) -> None:
        """Forget everything that was computed with an adapter."""
        for blocks in self._projects.values():
            for key in [key for key, block in blocks.items() if block.adapter == adapter]:
                del blocks[key]
                self._num_blocks -= 1
