"""What a URL that a user gives must look like, before anything is resolved or connected to."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.safe_http.ip_policy import DestinationNotAllowed, Network, check_address

MAX_URL_LENGTH = 2048
# Other ports of strangers' machines are not for users to knock at through us.
ALLOWED_PORTS = (None, 443, 8443)
# Printable ASCII without what parsers of URLs disagree on.
URL_CHARACTERS = re.compile(r"[!#-;=?-\[\]_a-z~]+")
# What DNS can hold; of parts that are empty or longer, Python makes a UnicodeError.
HOSTNAME = re.compile(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
# Such as `2130706433` or `127.0.0x1`, which resolvers take for addresses.
NUMERIC_HOST = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$")


def validate_url(url: str, allowed: Sequence[Network]) -> None:
    """Raises Refused, with a sentence for the user.

    `http` and other ports are for the operator's own list alone, which is looked at again when
    the host has been resolved.
    """
    if not url:
        raise DestinationNotAllowed("Give the URL to post to, such as https://example.com/hooks.")
    if len(url) > MAX_URL_LENGTH:
        raise DestinationNotAllowed(f"A URL may have {MAX_URL_LENGTH} characters.")
    if not URL_CHARACTERS.fullmatch(url):
        raise DestinationNotAllowed(
            "A URL is made of printable ASCII; write other hosts in punycode."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise DestinationNotAllowed(f"It is not a URL: {error}.") from error
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise DestinationNotAllowed("The URL must begin with https://.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise DestinationNotAllowed("The URL may have neither a user and password nor a fragment.")
    if port not in ALLOWED_PORTS and not allowed:
        raise DestinationNotAllowed("The port must be 443 or 8443.")
    _validate_host(host, allowed)


def _validate_host(host: str, allowed: Sequence[Network]) -> None:
    if not host:
        raise DestinationNotAllowed("The URL names no host.")
    if ":" not in host and not NUMERIC_HOST.search(host):
        _validate_hostname(host)
        return
    try:
        ip_address(host)
    except ValueError as error:
        raise DestinationNotAllowed(
            "The URL's host is neither a name nor an address as it is written."
        ) from error
    check_address(host, allowed)


def _validate_hostname(host: str) -> None:
    if not HOSTNAME.fullmatch(host):
        raise DestinationNotAllowed(
            "The URL's host is not a valid name: between its dots there are 1 to 63 letters, "
            "digits and hyphens, and 253 characters in all."
        )
