"""One POST to a URL that a user gave: where it goes is checked, how long it takes is bounded.

The connection is made to the very address that was checked, so that a name which resolves to
another address a moment later changes nothing; name and certificate stay those of the URL. No
redirect is followed, no proxy is used, and of the answer only the status is read.
"""

import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
from httpcore import SOCKET_OPTION

from app.safe_http.ip_policy import DestinationNotAllowed, Network, Resolver, check_address, resolve
from app.safe_http.url_policy import ALLOWED_PORTS, validate_url

# For everything together: a receiver that drips is as dead as one that is silent.
TOTAL_TIMEOUT_SECONDS = 15.0
CONNECT_TIMEOUT_SECONDS = 5.0


class NoResponse(Exception):
    """Nothing came back that is an answer; the message is one that its owner may read."""


class SafeHttpClient:
    """Posts to URLs of users. Safe between threads; `allowed` is the operator's list."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        timeout_seconds: float = TOTAL_TIMEOUT_SECONDS,
    ) -> None:
        self._allowed = allowed
        self._resolver = resolver
        # SSL_CERT_FILE names the authorities of an operator who has their own.
        self._tls = httpx.create_ssl_context() if tls is None else tls
        self._timeout_seconds = timeout_seconds

    def validate_url(self, url: str) -> None:
        """Raises Refused for a URL that could never be posted to."""
        validate_url(url, self._allowed)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status that the URL answers with.

        Raises Refused if it leads to where users may not go, and NoAnswer.
        """
        self.validate_url(url)
        deadline = time.monotonic() + self._timeout_seconds
        way = PinnedNetworkBackend(urlsplit(url).scheme, self._allowed, self._resolver, deadline)
        with httpcore.ConnectionPool(ssl_context=self._tls, network_backend=way) as pool:
            try:
                with pool.stream(
                    "POST", url, headers=list(headers.items()), content=body
                ) as answer:
                    return answer.status
            except httpcore.TimeoutException as error:
                raise NoResponse("It did not answer in time.") from error
            except httpcore.ConnectError as error:
                raise NoResponse(_connect_error_message(error)) from error
            except (httpcore.NetworkError, httpcore.ProtocolError) as error:
                raise NoResponse("It broke the connection off, or answered no HTTP.") from error


def _connect_error_message(error: httpcore.ConnectError) -> str:
    # httpcore hands the cause over as the argument, and cuts the chain.
    reason = error.args[0]
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"Its certificate is not accepted: {reason.verify_message.rstrip('.')}."
    if isinstance(reason, ssl.SSLError):
        return "It does not speak TLS as we do."
    if isinstance(reason, socket.gaierror):
        return "Its name has no address: look for a slip in the URL, or in its DNS."
    if isinstance(reason, UnicodeError):
        return "Its host is not a valid name: look for a slip in the URL."
    return "It cannot be reached: no connection to its address and port was accepted."


class PinnedNetworkBackend(httpcore.NetworkBackend):
    """Resolves, checks and connects, in one place and once per connection."""

    def __init__(
        self, scheme: str, allowed: Sequence[Network], resolver: Resolver, deadline: float
    ) -> None:
        self._scheme = scheme
        self._allowed = allowed
        self._resolver = resolver
        self._deadline = deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._resolve_allowed(host.strip("[]"), port)
        trouble: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            seconds = min(CONNECT_TIMEOUT_SECONDS, _seconds_left(self._deadline))
            try:
                stream = self._network.connect_tcp(
                    address, port, seconds, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
            else:
                return DeadlineStream(stream, self._deadline)
        raise trouble

    def _resolve_allowed(self, host: str, port: int) -> Sequence[str]:
        """The host's addresses, each of which is allowed. Raises Refused."""
        try:
            addresses = self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(error) from error
        # All of them: which one is connected to depends on which of them answer.
        listed = [check_address(address, self._allowed) for address in addresses]
        if not all(listed) and (self._scheme != "https" or port not in ALLOWED_PORTS):
            raise DestinationNotAllowed(
                "Public addresses are reached by https, on port 443 or 8443."
            )
        return addresses


class DeadlineStream(httpcore.NetworkStream):
    """A connection that ends at a moment, however busy it is."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds_left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _seconds_left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _seconds_left(self._deadline)
        inner = self._stream.start_tls(ssl_context, server_hostname, left)
        return DeadlineStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _seconds_left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return seconds
