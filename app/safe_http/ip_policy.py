"""SSRF policy for IP addresses: public ones, and networks that the operator has allowed.

Python's `is_global` is not enough: it accepts multicast, and IPv6 addresses that carry a private
IPv4 address (NAT64, 6to4).
"""

import socket
from collections.abc import Callable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# Maps a host and a port to its addresses, as text. Raises OSError.
Resolver = Callable[[str, int], Sequence[str]]

# Global unicast (RFC 4291). The rest of IPv6 is local, multicast, reserved, or embeds IPv4.
IPV6_GLOBAL_UNICAST = IPv6Network("2000::/3")
BLOCKED_NETWORKS = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        # Azure's metadata and DNS service, at a public address.
        "168.63.129.16/32",
        # IETF protocol assignments, Teredo among them (RFC 2928).
        "2001::/23",
        # 6to4 (RFC 3056).
        "2002::/16",
    )
)


class DestinationNotAllowed(Exception):
    """The service must not connect to this URL or address; the message is for its owner."""


def resolve(host: str, port: int) -> list[str]:
    """Resolve a host to all its addresses, in the order in which to try them. Raises OSError."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in infos))


def is_allowlisted(address: Address, allowed: Sequence[Network]) -> bool:
    """Return true if the operator has allowed the address."""
    return any(_unmap_ipv4(address) in network for network in allowed)


def is_public(address: Address) -> bool:
    """Return true if the address is globally routable unicast."""
    unmapped = _unmap_ipv4(address)
    if isinstance(unmapped, IPv6Address) and unmapped not in IPV6_GLOBAL_UNICAST:
        return False
    if unmapped.is_multicast or unmapped.is_reserved or not unmapped.is_global:
        return False
    return not any(unmapped in network for network in BLOCKED_NETWORKS)


def check_address(text: str, allowed: Sequence[Network]) -> bool:
    """Check that an address may be connected to; true if it is on the operator's allowlist.

    Raises DestinationNotAllowed for one that is neither allowlisted nor public. An address with a
    zone ("fe80::1%eth0") names an interface of this machine and is never public.
    """
    address = ip_address(text)
    if is_allowlisted(address, allowed):
        return True
    if not is_public(address):
        raise DestinationNotAllowed(f"The address {text} is not public.")
    return False


def _unmap_ipv4(address: Address) -> Address:
    """Unwrap an IPv4-mapped address such as `::ffff:10.0.0.1`; return any other unchanged."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
