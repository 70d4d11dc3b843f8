"""SSRF policy: addresses that users may have us connect to, and the form of their URLs."""

from ipaddress import ip_address, ip_network

import pytest

from app.safe_http.ip_policy import DestinationNotAllowed, check_address, is_public
from app.safe_http.url_policy import validate_url

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_a24_a26_addresses_that_are_not_public_are_rejected(text: str) -> None:
    with pytest.raises(DestinationNotAllowed, match="is not public"):
        check_address(text, ())


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"]
)
def test_public_addresses_are_allowed(text: str) -> None:
    assert is_public(ip_address(text))
    assert check_address(text, ()) is False


@pytest.mark.parametrize("text", ["10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "fd12::7"])
def test_the_allowlist_allows_more(text: str) -> None:
    allowed = tuple(map(ip_network, ("10.1.0.0/16", "127.0.0.1", "fd12::/16")))
    assert check_address(text, allowed) is True
    with pytest.raises(DestinationNotAllowed):
        check_address("10.2.0.1", allowed)


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "https://hooks.example.com/a?b=c",
            "https://hooks.example.com:8443",
            "https://1.1.1.1/x",
            "https://[2606:4700:4700::1111]/x",
            "https://xn--bcher-kva.example/x",
            "https://2fast.example1/x",
            "https://my_hooks.example.com./x",
            f"https://{'a' * 63}.example.com/",
        ],
    )
    def test_valid_urls(self, url: str) -> None:
        validate_url(url, ())

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "https://",
            "https:///x",
            "hooks.example.com",
            "http://hooks.example.com/",
            "file:///etc/passwd",
            "gopher://hooks.example.com/_x",
            "unix:///run/x",
            "https://hooks.example.com:22/",
            "https://hooks.example.com:6379/",
            "https://hooks.example.com:99999/",
            "https://user:password@hooks.example.com/",
            "https://user@hooks.example.com/",
            "https://public.example@127.0.0.1/",
            "https://hooks.example.com/#x",
            "https://hooks.example.com/\r\nX-Evil: 1",
            "https://hooks.example.com/ x",
            "https://hooks.example.com\\@127.0.0.1/",
            "https://hooks.example.com/\x00",
            "https://b\u00fccher.example/",
            "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
            "https://hooks..example.com/",
            "https://.example.com/",
            f"https://{'a' * 64}.example.com/",
            f"https://{'.'.join(['a' * 60] * 5)}/",
            "https://hooks%2e.example.com/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://127.0.0.1./",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://0x7f.1/",
            "https://0x7f000001/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fe80::1%25eth0]/",
            "https://[::1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://hooks.example.com/" + "a" * 2048,
        ],
    )
    def test_a28_invalid_urls(self, url: str) -> None:
        with pytest.raises(DestinationNotAllowed):
            validate_url(url, ())

    def test_http_and_other_ports_need_an_allowlist(self) -> None:
        allowed = (ip_network("127.0.0.1"),)
        validate_url("http://127.0.0.1:9000/x", allowed)
        validate_url("http://intranet:9000/x", allowed)
        for url in ("ftp://127.0.0.1/", "http://10.0.0.1/", "https://127.0.0.2/"):
            with pytest.raises(DestinationNotAllowed):
                validate_url(url, allowed)
