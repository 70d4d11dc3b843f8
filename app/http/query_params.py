"""Query parameters without a value, which clients send for null."""

from urllib.parse import unquote_to_bytes

# Filters by metadata: an empty value is a valid one, and differs from no filter.
METADATA_PREFIX = b"metadata"


def drop_empty(query: bytes) -> bytes:
    """Remove the parameters without a value from a query string.

    The Node SDK serializes a null parameter as `after=`. Read as a value, that would be an
    unknown cursor or an invalid number.
    """
    return b"&".join(pair for pair in query.split(b"&") if _has_value(pair))


def _has_value(pair: bytes) -> bool:
    name, _, value = pair.partition(b"=")
    return value != b"" or unquote_to_bytes(name).startswith(METADATA_PREFIX)
