"""Which addresses a user may have the service connect to: public ones, and the operator's own list.

Python's `is_global` is not enough: it takes multicast, and IPv6 addresses that carry a private IPv4
address (NAT64, 6to4), for global.
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
# From a host and a port to the texts of its addresses. Raises OSError.
Resolver = Callable[[str, int], Sequence[str]]

# Everything else of IPv6 is local, multicast, reserved, or another protocol's address in disguise.
IPV6_GLOBAL_UNICAST = IPv6Network("2000::/3")
BLOCKED_NETWORKS = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        # What a cloud's own machines ask for their settings, at a public address.
        "168.63.129.16/32",
        # Teredo, and what else the registry keeps for protocols.
        "2001::/23",
        "2002::/16",
    )
)


class DestinationNotAllowed(Exception):
    """The address is not one that users may have the service connect to."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses with commas between them. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, in the order in which they should be tried. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def is_allowlisted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the operator has named the address."""
    return any(_unmap_ipv4(address) in network for network in allowed)


def is_public(address: Address) -> bool:
    """Whether the address is somebody's on the internet, and that somebody's alone."""
    plain = _unmap_ipv4(address)
    if isinstance(plain, IPv6Address) and plain not in IPV6_GLOBAL_UNICAST:
        return False
    if plain.is_multicast or plain.is_reserved or not plain.is_global:
        return False
    return not any(plain in network for network in BLOCKED_NETWORKS)


def check_address(text: str, allowed: Sequence[Network]) -> bool:
    """Whether an address is one of the operator's list. Raises Refused if it is not public either.

    A zone ("fe80::1%eth0") names an interface of this machine: such an address is never public.
    """
    address = ip_address(text)
    if is_allowlisted(address, allowed):
        return True
    if not is_public(address):
        raise DestinationNotAllowed(f"The address {text} is not a public one.")
    return False


def _unmap_ipv4(address: Address) -> Address:
    """The IPv4 address that is meant by `::ffff:10.0.0.1`; any other as it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
