"""What a URL that a user gives must look like, before anything is resolved or connected to."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.safe_http.ip_policy import Network, Refused, require_allowed

LONGEST = 2048
# Other ports of strangers' machines are not for users to knock at through us.
PORTS = (None, 443, 8443)
# Printable ASCII without what parsers of URLs disagree on.
PLAIN = re.compile(r"[!#-;=?-\[\]_a-z~]+")
# What DNS can hold; of parts that are empty or longer, Python makes a UnicodeError.
NAME = re.compile(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
# Such as `2130706433` or `127.0.0x1`, which resolvers take for addresses.
NUMERIC_END = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$")


def require_sound(url: str, allowed: Sequence[Network]) -> None:
    """Raises Refused, with a sentence for the user.

    `http` and other ports are for the operator's own list alone, which is looked at again when
    the host has been resolved.
    """
    if not url:
        raise Refused("Give the URL to post to, such as https://example.com/hooks.")
    if len(url) > LONGEST:
        raise Refused(f"A URL may have {LONGEST} characters.")
    if not PLAIN.fullmatch(url):
        raise Refused("A URL is made of printable ASCII; write other hosts in punycode.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"It is not a URL: {error}.") from error
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise Refused("The URL must begin with https://.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Refused("The URL may have neither a user and password nor a fragment.")
    if port not in PORTS and not allowed:
        raise Refused("The port must be 443 or 8443.")
    _require_host(host, allowed)


def _require_host(host: str, allowed: Sequence[Network]) -> None:
    if not host:
        raise Refused("The URL names no host.")
    if ":" not in host and not NUMERIC_END.search(host):
        _require_name(host)
        return
    try:
        ip_address(host)
    except ValueError as error:
        raise Refused(
            "The URL's host is neither a name nor an address as it is written."
        ) from error
    require_allowed(host, allowed)


def _require_name(host: str) -> None:
    if not NAME.fullmatch(host):
        raise Refused(
            "The URL's host is not a valid name: between its dots there are 1 to 63 letters, "
            "digits and hyphens, and 253 characters in all."
        )
