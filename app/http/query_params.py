"""What an empty value in a query means: that the client had none to give."""

from urllib.parse import unquote_to_bytes

# Filters by metadata, where a value may well be empty, and its absence is one too.
METADATA_PREFIX = b"metadata"


def drop_empty(query: bytes) -> bytes:
    """A query string without its empty parameters.

    The Node SDK writes a parameter that is null as `after=`. Read as a value, that is a cursor
    behind which there is nothing, or no number.
    """
    return b"&".join(pair for pair in query.split(b"&") if _has_value(pair))


def _has_value(pair: bytes) -> bool:
    name, _, value = pair.partition(b"=")
    return value != b"" or unquote_to_bytes(name).startswith(METADATA_PREFIX)
