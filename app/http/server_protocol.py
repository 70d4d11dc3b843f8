"""HTTP below ASGI: what uvicorn alone would hold for ever, or answer without our envelope."""

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
# So often it is looked whether a client takes what it is sent. One that has taken nothing in two
# looks after another is let go: it would hold its answer, and what makes it, for ever.
PROGRESS_CHECK_INTERVAL_SECONDS = 5.0
MAX_IDLE_CHECKS = 2
# The kernel takes megabytes for a client, and keeps them after the connection is closed here.
MAX_UNSENT_BYTES = 128 * 1024
# Each costs memory and a file descriptor. The guard's limit on requests comes first.
MAX_CONNECTIONS = 10_000
# Drop what is unsent as the connection ends, instead of offering it for minutes more.
NO_LINGER = struct.pack("ii", 1, 0)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection, whose client sends its heads in time and not too large, and takes what it is
    sent."""

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
            # For all its requests: those of the connections before it go on.
            self.app = _too_many_connections
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        if self._progress_timer is not None:
            self._progress_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_received_data = True
        was_in_head = self._header_timer is not None
        super().data_received(data)
        # Counted only if all of it belongs to the head: a body may come in the same piece.
        if was_in_head and self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._send_error_and_close(HeadersTooLarge())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_header_timer()

    def on_headers_complete(self) -> None:
        self._stop_header_timer()
        # Whoever asks again has taken something, and is sent more from now on.
        self._last_unacked_bytes = 0
        self._schedule_check()
        super().on_headers_complete()

    def resume_writing(self) -> None:
        self._last_unacked_bytes = 0
        super().resume_writing()

    def check_client_progress(self) -> None:
        """Let a client go that takes nothing of what it is sent."""
        self._progress_timer = None
        untaken = self.unacked_bytes()
        # While more is being written, the same number does not mean that nothing was taken.
        idle = untaken > 0 and untaken == self._last_unacked_bytes and self._has_written_all()
        self._idle_checks = self._idle_checks + 1 if idle else 0
        self._last_unacked_bytes = untaken
        if self._idle_checks == MAX_IDLE_CHECKS:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.transport.abort()
        elif untaken or not self._is_response_complete():
            self._schedule_check()

    def unacked_bytes(self) -> int:
        """The bytes that the client's machine has not acknowledged.

        Those in the kernel count: it asks for more only when it has room for a lot, so that of a
        client that reads slowly and steadily nothing could be seen here for long. What is seen
        goes by up to 64 KiB still, as kernels tell of room in their buffers.
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
        """What uvicorn calls for bytes that are no HTTP."""
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
            self._send_error_and_close(
                RequestTimeout("The request's headers did not arrive in time. Send it again.")
            )
        else:
            self.transport.close()

    def _send_error_and_close(self, error: ApiError) -> None:
        self._stop_header_timer()
        # Within an answer that has begun, only breaking it off can tell of an error.
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_encode_error_response(error))
        self._schedule_check()
        self.transport.close()


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """The app of one connection too many."""
    answer = error_handlers.to_response(
        ServiceUnavailable("Too many connections are open. Try again in a moment.")
    )
    answer.headers.update({"x-request-id": ids.request_id(), "connection": "close"})
    await answer(scope, receive, send)


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
