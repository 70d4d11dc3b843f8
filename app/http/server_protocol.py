"""uvicorn HTTP protocol with the limits that uvicorn lacks: header deadline and size, slow readers
(slowloris in both directions), number of connections; errors in OpenAI's envelope."""

import json
import socket
import struct
import termios
from asyncio import TimerHandle, Transport
from fcntl import ioctl

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app import ids
from app.errors import ApiError, HeadersTooLarge, InvalidRequest, RequestTimeout, ServiceUnavailable
from app.http import error_handlers

# From the connection, or the first byte of a further request, to the end of its headers.
HEADER_TIMEOUT_SECONDS = 10.0
MAX_HEADER_BYTES = 64 * 1024
# A client that has read nothing of its response in MAX_IDLE_CHECKS checks in a row is disconnected:
# it would hold the response, and whatever produces it, forever.
PROGRESS_CHECK_INTERVAL_SECONDS = 5.0
MAX_IDLE_CHECKS = 2
# The kernel would buffer megabytes per client, and keep them after the connection is closed here.
MAX_UNSENT_BYTES = 128 * 1024
# Each costs memory and a file descriptor. The limit on requests in admission.py is reached first.
MAX_CONNECTIONS = 10_000
# Discard unsent data on close (RST) instead of retransmitting it for minutes.
NO_LINGER = struct.pack("ii", 1, 0)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Its client must send its headers in time and within the size limit, and must
    keep reading its responses."""

    header_timeout_seconds = HEADER_TIMEOUT_SECONDS
    progress_check_interval_seconds = PROGRESS_CHECK_INTERVAL_SECONDS
    max_connections = MAX_CONNECTIONS

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header_timer: TimerHandle | None = None
        self._has_received_data = False
        self._header_bytes = 0
        self._progress_timer: TimerHandle | None = None
        self._last_unacked_bytes = 0
        self._idle_checks = 0
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        if len(self.connections) > self.max_connections:
            # Every request of this connection gets the error; older connections are unaffected.
            self.app = _too_many_connections
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        if self._progress_timer is not None:
            self._progress_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_received_data = True
        was_in_headers = self._header_timer is not None
        super().data_received(data)
        # Counted only if the headers have not ended in it: the same chunk may hold a body.
        if was_in_headers and self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._send_error_and_close(HeadersTooLarge())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_header_timer()

    def on_headers_complete(self) -> None:
        self._stop_header_timer()
        # A client that sends another request has read something, and is about to be sent more.
        self._last_unacked_bytes = 0
        self._schedule_check()
        super().on_headers_complete()

    def resume_writing(self) -> None:
        self._last_unacked_bytes = 0
        super().resume_writing()

    def check_client_progress(self) -> None:
        """Disconnect a client that has stopped reading its response."""
        self._progress_timer = None
        unacked = self.unacked_bytes()
        # While more is being written, an equal number does not mean that nothing was read.
        idle = unacked > 0 and unacked == self._last_unacked_bytes and self._has_written_all()
        self._idle_checks = self._idle_checks + 1 if idle else 0
        self._last_unacked_bytes = unacked
        if self._idle_checks == MAX_IDLE_CHECKS:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.transport.abort()
        elif unacked or not self._is_response_complete():
            self._schedule_check()

    def unacked_bytes(self) -> int:
        """Bytes written that the client's kernel has not acknowledged.

        The kernel's send queue (TIOCOUTQ) counts: it only asks for more once a lot of it is free,
        so a client that reads slowly but steadily would look idle here for long. Progress is still
        only visible in steps of up to 64 KiB, the granularity of TCP window updates.
        """
        connection = self.transport.get_extra_info("socket")
        queued = ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(struct.calcsize("i")))
        (in_kernel,) = struct.unpack("i", queued)
        return self.transport.get_write_buffer_size() + int(in_kernel)

    def _schedule_check(self) -> None:
        if self._progress_timer is None:
            self._progress_timer = self.loop.call_later(
                self.progress_check_interval_seconds, self.check_client_progress
            )

    def _has_written_all(self) -> bool:
        return self.flow.write_paused or self.transport.is_closing() or self._is_response_complete()

    def _is_response_complete(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """uvicorn's hook for bytes that are not HTTP."""
        self._send_error_and_close(InvalidRequest("This is not a valid HTTP request."))

    def _start_header_timer(self) -> None:
        if self._header_timer is None:
            self._header_bytes = 0
            self._header_timer = self.loop.call_later(
                self.header_timeout_seconds, self._header_timeout
            )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_timeout(self) -> None:
        if self._has_received_data:
            message = "The request headers did not arrive in time. Please retry."
            self._send_error_and_close(RequestTimeout(message))
        else:
            self.transport.close()

    def _send_error_and_close(self, error: ApiError) -> None:
        self._stop_header_timer()
        # Once a response has started, an error can only be signalled by truncating it.
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_encode_error_response(error))
        self._schedule_check()
        self.transport.close()


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI app of a connection above the limit."""
    error = ServiceUnavailable("Too many open connections. Please retry in a moment.")
    response = error_handlers.to_response(error)
    response.headers.update({"x-request-id": ids.request_id(), "connection": "close"})
    await response(scope, receive, send)


def _encode_error_response(error: ApiError) -> bytes:
    body = json.dumps(error.body()).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": ids.request_id(),
        "connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[error.status] + head.encode() + b"\r\n" + body
