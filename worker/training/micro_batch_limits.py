"""Limits of a micro-batch, smaller after each attempt that ran out of memory."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MicroBatchLimits:
    """Limits of a micro-batch: tokens, and rows (None for no limit).

    A row longer than `max_tokens` is a micro-batch of its own.
    """

    max_tokens: int
    max_rows: int | None = None


def reduce_limits(max_tokens: int, max_rows: int | None, batch_size: int) -> MicroBatchLimits:
    """Reduce the tokens of a micro-batch as far as its rows were reduced from the batch size.

    Memory depends on the tokens. Long rows reach the limit of tokens before that of rows: fewer
    rows alone would leave their micro-batches as they were.
    """
    if max_rows is None or max_rows >= batch_size:
        return MicroBatchLimits(max_tokens, max_rows)
    return MicroBatchLimits(max(1, max_tokens * max_rows // batch_size), max_rows)
