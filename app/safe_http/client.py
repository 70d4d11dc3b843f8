"""SSRF-safe HTTP client: one POST with a checked destination and a total deadline.

The connection goes to the very address that was checked, which defeats DNS rebinding; the Host
header and the certificate stay those of the URL. Redirects are not followed, proxies are not used,
and only the status of the response is read.
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

# For the whole exchange: a receiver that sends a byte now and then must not hold a thread.
TOTAL_TIMEOUT_SECONDS = 15.0
CONNECT_TIMEOUT_SECONDS = 5.0


class NoResponse(Exception):
    """No HTTP response came back; the message may be shown to the URL's owner."""


class SafeHttpClient:
    """HTTP client for URLs that users give. Thread-safe; `allowed` is the operator's allowlist."""

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
        # Honours SSL_CERT_FILE, for operators with their own certificate authority.
        self._tls = httpx.create_ssl_context() if tls is None else tls
        self._timeout_seconds = timeout_seconds

    def validate_url(self, url: str) -> None:
        """Raise DestinationNotAllowed for a URL that could never be posted to."""
        validate_url(url, self._allowed)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post and return the status of the response.

        Raises DestinationNotAllowed and NoResponse.
        """
        self.validate_url(url)
        deadline = time.monotonic() + self._timeout_seconds
        backend = PinnedNetworkBackend(
            urlsplit(url).scheme, self._allowed, self._resolver, deadline
        )
        with httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool:
            try:
                with pool.stream(
                    "POST", url, headers=list(headers.items()), content=body
                ) as response:
                    return response.status
            except httpcore.TimeoutException as error:
                raise NoResponse("The receiver did not respond in time.") from error
            except httpcore.ConnectError as error:
                raise NoResponse(_connect_error_message(error)) from error
            except (httpcore.NetworkError, httpcore.ProtocolError) as error:
                raise NoResponse(
                    "The receiver closed the connection, or its response was not HTTP."
                ) from error


def _connect_error_message(error: httpcore.ConnectError) -> str:
    # httpcore passes the cause as the argument and cuts the chain.
    reason = error.args[0]
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"The receiver's certificate is invalid: {reason.verify_message.rstrip('.')}."
    if isinstance(reason, ssl.SSLError):
        return "The TLS handshake with the receiver failed."
    if isinstance(reason, socket.gaierror):
        return "The host name could not be resolved. Check the URL and its DNS records."
    if isinstance(reason, UnicodeError):
        return "The host name is not valid. Check the URL."
    return "The receiver could not be reached: its address and port accept no connection."


class PinnedNetworkBackend(httpcore.NetworkBackend):
    """Backend that resolves a host, checks all its addresses and connects to one, in one step."""

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
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            seconds = min(CONNECT_TIMEOUT_SECONDS, _seconds_left(self._deadline))
            try:
                stream = self._network.connect_tcp(
                    address, port, seconds, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return DeadlineStream(stream, self._deadline)
        raise failure

    def _resolve_allowed(self, host: str, port: int) -> Sequence[str]:
        """Resolve a host whose addresses are all allowed. Raises DestinationNotAllowed."""
        try:
            addresses = self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(error) from error
        # All of them, since any may end up being the one that is connected to.
        allowlisted = [check_address(address, self._allowed) for address in addresses]
        if not all(allowlisted) and (self._scheme != "https" or port not in ALLOWED_PORTS):
            raise DestinationNotAllowed("Public addresses need https, on port 443 or 8443.")
        return addresses


class DeadlineStream(httpcore.NetworkStream):
    """A connection that fails at a fixed time, however busy it is."""

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
        seconds = _seconds_left(self._deadline)
        stream = self._stream.start_tls(ssl_context, server_hostname, seconds)
        return DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _seconds_left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("deadline exceeded")
    return seconds
