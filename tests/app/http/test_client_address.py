"""The client's address is the connection's, unless a trusted proxy reports another."""

from ipaddress import ip_network

import pytest

from app.http.client_address import ProxyHeader, find_client_address, rate_limit_name

PROXIES = tuple(ip_network(text) for text in ("127.0.0.1", "10.0.0.0/8", "fd00::/8"))


def find(peer: str, *headers: str, name: str = "x-forwarded-for") -> str:
    scope = {
        "type": "http",
        "client": (peer, 1234),
        "headers": [(name.encode(), value.encode()) for value in headers],
    }
    return find_client_address(scope, PROXIES, ProxyHeader(name))


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        ("127.0.0.1", ("198.51.100.7:4711",), "198.51.100.7"),
        ("127.0.0.1", ("[2001:db8::1]:4711",), "2001:db8::1"),
        ("127.0.0.1", ("2001:db8::1",), "2001:db8::1"),
        ("::ffff:127.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        # Two proxies in a row; what the client itself wrote is further left.
        ("10.1.1.1", ("203.0.113.9, 198.51.100.7, 10.2.2.2",), "198.51.100.7"),
        ("10.1.1.1", ("203.0.113.9", "198.51.100.7", "10.2.2.2"), "198.51.100.7"),
        # The header of a peer that is no proxy is the client's own invention.
        ("198.51.100.7", ("127.0.0.1",), "198.51.100.7"),
        ("203.0.113.9", ("10.0.0.1, 127.0.0.1",), "203.0.113.9"),
        # Nothing is believed beyond an entry that is no address.
        ("127.0.0.1", ("203.0.113.9, unknown",), "127.0.0.1"),
        ("127.0.0.1", ("203.0.113.9, , 10.2.2.2",), "10.2.2.2"),
        ("127.0.0.1", ("\r\nx",), "127.0.0.1"),
        ("testclient", ("203.0.113.9",), "testclient"),
    ],
)
def test_a67_the_rightmost_address_that_is_no_proxy(
    peer: str, headers: tuple[str, ...], address: str
) -> None:
    assert find(peer, *headers) == address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ('proto=https;For="[2001:db8::1]:4711";by=10.0.0.1', "2001:db8::1"),
        ("for=203.0.113.9, for=198.51.100.7;proto=http, for=10.2.2.2", "198.51.100.7"),
        ("for=203.0.113.9, for=_hidden", "127.0.0.1"),
        ("by=203.0.113.9", "127.0.0.1"),
    ],
)
def test_a67_the_forwarded_header(header: str, address: str) -> None:
    assert find("127.0.0.1", header, name="forwarded") == address


def test_a67_only_the_configured_header_counts() -> None:
    """A proxy passes the other one on as the client sent it."""
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(b"forwarded", b"for=203.0.113.9"), (b"x-forwarded-for", b"198.51.100.7")],
    }
    assert find_client_address(scope, PROXIES, ProxyHeader.X_FORWARDED_FOR) == "198.51.100.7"
    assert find_client_address(scope, (), ProxyHeader.X_FORWARDED_FOR) == "127.0.0.1"


def test_a67_a_long_header_is_not_read_to_its_end() -> None:
    hops = ", ".join(["203.0.113.9", *["10.0.0.1"] * 10_000])
    assert find("127.0.0.1", hops) == "10.0.0.1"


def test_a67_a_customers_ipv6_addresses_count_as_one() -> None:
    assert rate_limit_name("2001:db8:1:2:3::4") == rate_limit_name("2001:db8:1:2::1")
    assert rate_limit_name("2001:db8:1:2::1") != rate_limit_name("2001:db8:1:3::1")
    assert rate_limit_name("192.0.2.1") == "192.0.2.1"
