"""Address of a request's client: of the connection, or as a trusted reverse proxy reports it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

IPNetwork = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address
# Proxies in a row; entries of the header beyond them are not read.
MAX_HOPS = 16
# A provider gives a customer at least this much of IPv6, so one client has all addresses of it.
IPV6_CLIENT_PREFIX = 64


class ProxyHeader(StrEnum):
    """Header to which a reverse proxy appends the address of its client."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"


def find_client_address(scope: Scope, trusted: Sequence[IPNetwork], header: ProxyHeader) -> str:
    """Find the address of the client: the connection's peer, unless that is a trusted proxy.

    Each proxy appends the address of its own client, so only the part of the header that trusted
    proxies wrote counts: from the right, the first address that is no trusted proxy.
    """
    peer, _ = scope["client"] or ("", 0)
    address = _parse(peer)
    if address is None:
        return str(peer)
    for hop in _hops(Headers(scope=scope), header):
        if not _is_trusted(address, trusted):
            break
        next_address = _parse(hop)
        if next_address is None:
            break
        address = next_address
    return str(address)


def rate_limit_name(address: str) -> str:
    """The name under which requests of an address are counted: its /64 for IPv6."""
    parsed = _parse(address)
    if not isinstance(parsed, IPv6Address):
        return address
    return str(ip_network((int(parsed), IPV6_CLIENT_PREFIX), strict=False))


def _hops(headers: Headers, header: ProxyHeader) -> Iterator[str]:
    """The addresses in the header, that of the nearest proxy's client first."""
    text = ",".join(headers.getlist(header))
    for element in reversed(text.rsplit(",", maxsplit=MAX_HOPS)[-MAX_HOPS:]):
        yield _for_parameter(element) if header is ProxyHeader.FORWARDED else element.strip()


def _for_parameter(element: str) -> str:
    """The `for` of one element of a Forwarded header (RFC 7239)."""
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return value.strip('"')
    return ""


def _parse(text: str) -> IPAddress | None:
    """Parse `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; None if invalid."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: IPAddress, trusted: Sequence[IPNetwork]) -> bool:
    return any(address in network for network in trusted)
