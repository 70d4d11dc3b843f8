"""Rounding of the sizes of matrix products, so that micro-batches of similar size have equal ones.

For a product of a new shape oneDNN generates code, which takes 2 to 5 ms of one core, and keeps the
code of the last 1,024 shapes. A step has about forty different products of its number of tokens;
without rounding nearly each of them would be new, since rows differ in length.
"""

# The largest share of padding, but for small sizes.
MAX_PADDING = 1 / 32


def round_up(size: int, *, step: int) -> int:
    """Round up to a multiple of `step`, or of a larger power of two for a large size.

    With `step` a power of two, there are at most 32 results between a size and its double.
    """
    coarse = int(size * MAX_PADDING)
    step = max(step, 1 << coarse.bit_length() >> 1)
    return -(-size // step) * step
