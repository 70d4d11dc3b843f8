"""Query strings as clients write them: null as an empty value, lists with brackets."""

from urllib.parse import unquote_to_bytes

# Filters by metadata: an empty value is a valid one, and differs from no filter.
METADATA_PREFIX = b"metadata"
# After the name of a list, as the Python SDK writes them.
BRACKETS = (b"[]", b"%5B%5D", b"%5b%5d")


def normalize(query: bytes) -> bytes:
    """Remove the parameters without a value, and the brackets behind the names of lists.

    The Node SDK serializes a null parameter as `after=`. Read as a value, that would be an
    unknown cursor or an invalid number.
    """
    return b"&".join(_strip_brackets(pair) for pair in query.split(b"&") if _has_value(pair))


def _has_value(pair: bytes) -> bool:
    name, _, value = pair.partition(b"=")
    return value != b"" or unquote_to_bytes(name).startswith(METADATA_PREFIX)


def _strip_brackets(pair: bytes) -> bytes:
    name, equals, value = pair.partition(b"=")
    if name.startswith(METADATA_PREFIX):
        return pair
    for brackets in BRACKETS:
        name = name.removesuffix(brackets)
    return name + equals + value
