"""Speculative decoding by prompt lookup: several tokens of a choice in one step.

What follows the last tokens of a choice is often what followed them before, in the prompt or in the
answer so far: a name that is copied, the next of many like lines (prompt lookup decoding, Saxena
2023). A step computes such a draft together with the token that is due. Reading the weights takes
most of a step with few rows, so a row more costs little.

A token of a draft is kept only if it is the one that is sampled anyway: answers are the same as
without drafts, at any temperature, with any penalty or grammar.
"""

from collections.abc import Iterable, Sequence

Draft = Sequence[int]

# Tokens that must have occurred before.
MATCHED_TOKENS = 3
MAX_DRAFT_TOKENS = 7
# Rows of a step beyond which further ones are no longer cheap.
MAX_STEP_ROWS = 8
# Steps without a draft after drafts that were wrong: doubled each time, up to these.
MAX_PAUSED_STEPS = 32
# Places of a long prompt that are indexed in one step, so that other rows do not wait.
MAX_INDEXED_TOKENS = 1024


class PromptLookup:
    """Drafts for one choice. Their length follows how many of the last ones were right."""

    def __init__(self, prompt: Iterable[int]) -> None:
        self._tokens = list(prompt)
        # Where what followed some tokens last begins.
        self._followers: dict[tuple[int, ...], int] = {}
        self._num_indexed = 0
        self._length = MAX_DRAFT_TOKENS // 2
        self._pause = 0
        self._paused_steps_left = 0

    def append(self, token: int) -> None:
        """Add a generated token."""
        self._tokens.append(token)

    def propose(self, limit: int) -> Draft:
        """Return a draft of at most `limit` tokens; none if the last tokens are new."""
        self._index()
        if self._paused_steps_left:
            self._paused_steps_left -= 1
            return ()
        start = self._followers.get(tuple(self._tokens[-MATCHED_TOKENS:]))
        if start is None:
            return ()
        # A repetition shorter than the draft goes on with the draft itself.
        period = len(self._tokens) - start
        return [self._tokens[start + index % period] for index in range(min(limit, self._length))]

    def _index(self) -> None:
        """Index places that have a follower, as many as a step has time for."""
        end = min(len(self._tokens) - MATCHED_TOKENS, self._num_indexed + MAX_INDEXED_TOKENS)
        for first in range(self._num_indexed, end):
            matched = tuple(self._tokens[first : first + MATCHED_TOKENS])
            self._followers[matched] = first + MATCHED_TOKENS
        self._num_indexed = max(end, self._num_indexed)

    def count_accepted(self, accepted: int, drafted: int) -> None:
        """Learn from a draft: longer ones where it was right, a pause where it was wrong."""
        if not drafted:
            return
        if accepted:
            self._pause = 0
        else:
            self._pause = min(2 * self._pause + 1, MAX_PAUSED_STEPS)
            self._paused_steps_left = self._pause
        is_right = accepted == drafted
        self._length = min(2 * drafted, MAX_DRAFT_TOKENS) if is_right else max(accepted, 1)
