"""SSRF policy for URLs: scheme, port and host, checked before anything is resolved."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.safe_http.ip_policy import DestinationNotAllowed, Network, check_address

MAX_URL_LENGTH = 2048
# Users must not be able to scan the ports of third parties' machines from here.
ALLOWED_PORTS = (None, 443, 8443)
# Printable ASCII without the characters that URL parsers disagree on.
URL_CHARACTERS = re.compile(r"[!#-;=?-\[\]_a-z~]+")
# Length limits of DNS (RFC 1035); Python raises UnicodeError for labels that break them.
HOSTNAME = re.compile(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
# Such as `2130706433` or `127.0.0x1`, which resolvers read as IPv4 addresses.
NUMERIC_HOST = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$")


def validate_url(url: str, allowed: Sequence[Network]) -> None:
    """Check the form of a URL. Raises DestinationNotAllowed with a sentence for the user.

    `http` and other ports pass only if the operator has an allowlist; the client checks the
    resolved addresses against it again.
    """
    if not url:
        raise DestinationNotAllowed("Give the URL to post to, such as https://example.com/hooks.")
    if len(url) > MAX_URL_LENGTH:
        raise DestinationNotAllowed(f"The URL must have at most {MAX_URL_LENGTH} characters.")
    if not URL_CHARACTERS.fullmatch(url):
        raise DestinationNotAllowed(
            "The URL must be printable ASCII; write international host names in punycode."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise DestinationNotAllowed(f"The URL is not valid: {error}.") from error
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise DestinationNotAllowed("The URL must begin with https://.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise DestinationNotAllowed("The URL must not contain a user, password or fragment.")
    if port not in ALLOWED_PORTS and not allowed:
        raise DestinationNotAllowed("The port must be 443 or 8443.")
    _validate_host(host, allowed)


def _validate_host(host: str, allowed: Sequence[Network]) -> None:
    if not host:
        raise DestinationNotAllowed("The URL has no host.")
    if ":" not in host and not NUMERIC_HOST.search(host):
        _validate_hostname(host)
        return
    try:
        ip_address(host)
    except ValueError as error:
        raise DestinationNotAllowed(
            "The URL's host is neither a host name nor an IP address in standard notation."
        ) from error
    check_address(host, allowed)


def _validate_hostname(host: str) -> None:
    if not HOSTNAME.fullmatch(host):
        raise DestinationNotAllowed(
            "The URL's host is not a valid name: each label has 1 to 63 letters, digits and "
            "hyphens, and the whole name at most 253 characters."
        )
