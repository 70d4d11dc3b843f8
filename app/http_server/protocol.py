"""uvicorn HTTP protocol with the limits that uvicorn lacks: header deadline and size, framing of
chunked bodies, pipelining, slow readers (slowloris in both directions), number of connections;
errors in OpenAI's envelope."""

import json
import re
import socket
import struct
import termios
from asyncio import TimerHandle, Transport
from fcntl import ioctl

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app import ids
from app.errors import ApiError, HeadersTooLarge, InvalidRequest, RequestTimeout, ServiceUnavailable

# From the connection, or the first byte of a further request, to the end of its headers.
HEADER_TIMEOUT_SECONDS = 10.0
MAX_HEADER_BYTES = 64 * 1024
# Each lookup of a header reads them all.
MAX_HEADERS = 256
# Of a chunked body: sizes and extensions of chunks, and trailers. A body may have as many again as
# it has bytes, so that only chunks of less than about six bytes on average are rejected.
MAX_FRAMING_BYTES = 64 * 1024
# Requests that wait for the response to an earlier one of their connection.
MAX_PIPELINED_REQUESTS = 64
# A client that has read nothing of its response in MAX_IDLE_CHECKS checks in a row is disconnected:
# it would hold the response, and whatever produces it, forever.
PROGRESS_CHECK_INTERVAL_SECONDS = 5.0
MAX_IDLE_CHECKS = 2
# The kernel would buffer megabytes per client, and keep them after the connection is closed here.
MAX_UNSENT_BYTES = 128 * 1024
# Each costs memory and a file descriptor. The limit on requests in admission.py is reached first.
MAX_CONNECTIONS = 10_000
# Path of streams that stay open until their clients close them, or the server shuts down.
LISTENER_PATH = re.compile(r"/v1/changes|/console/(?!api/)(.+/)?live")
FRAMING_MESSAGE = (
    "The body has too many bytes of chunk sizes, chunk extensions and trailers for its length. "
    "Send larger chunks, and no trailers."
)
# Discard unsent data on close (RST) instead of retransmitting it for minutes.
NO_LINGER = struct.pack("ii", 1, 0)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Its client must send its headers in time and within the size limit, and must
    keep reading its responses. Trailers are dropped: no proxy or middleware has seen them when the
    request is admitted."""

    header_timeout_seconds = HEADER_TIMEOUT_SECONDS
    progress_check_interval_seconds = PROGRESS_CHECK_INTERVAL_SECONDS
    max_connections = MAX_CONNECTIONS

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header_timer: TimerHandle | None = None
        self._has_received_data = False
        self._header_bytes = self._header_field_bytes = 0
        self._is_in_message = False
        self._has_headers = False
        self._body_pieces: list[bytes] = []
        self._body_bytes = 0
        self._framing_bytes = 0
        self._rejection: ApiError | None = None
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

    def shutdown(self) -> None:
        """Let the response end; close a stream that would not, whose client connects again."""
        super().shutdown()
        if self.cycle is not None and LISTENER_PATH.fullmatch(self.cycle.scope["path"]):
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._has_received_data = True
        if not self._is_in_message and self._is_response_complete():
            # Blank lines before a request begin no message, but would keep the connection open.
            self._start_header_timer()
        was_in_headers, was_in_body = self._header_timer is not None, self._is_in_body()
        body_bytes = self._body_bytes
        super().data_received(data)
        self._flush_body()
        if was_in_headers and self._header_timer is not None:
            # A header that has not ended yet, which `on_header` will count.
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._send_error_and_close(HeadersTooLarge())
        elif was_in_body and self._is_in_body():
            self._framing_bytes += len(data) - (self._body_bytes - body_bytes)
            if self._framing_bytes > MAX_FRAMING_BYTES + self._body_bytes:
                self._send_error_and_close(InvalidRequest(FRAMING_MESSAGE))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_message, self._has_headers = True, False
        self._body_bytes = self._framing_bytes = 0
        self._header_field_bytes = 0
        self._start_header_timer()

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_headers:
            # A trailer. Its bytes are counted in `data_received`.
            return
        self._count_header(len(name) + len(value))
        if len(self.headers) == MAX_HEADERS:
            self._reject(HeadersTooLarge(f"A request may have at most {MAX_HEADERS} headers."))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._has_headers = True
        self._stop_header_timer()
        # A client that sends another request has read something, and is about to be sent more.
        self._last_unacked_bytes = 0
        self._schedule_check()
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED_REQUESTS:
            self._reject(InvalidRequest("Too many requests are pipelined on one connection."))

    def on_body(self, body: bytes) -> None:
        # Collected, because uvicorn copies the whole body for each chunk that it appends.
        self._body_bytes += len(body)
        self._body_pieces.append(body)

    def on_message_complete(self) -> None:
        self._flush_body()
        self._is_in_message = False
        super().on_message_complete()

    def _is_in_body(self) -> bool:
        return self._is_in_message and self._has_headers

    def _flush_body(self) -> None:
        pieces, self._body_pieces = self._body_pieces, []
        if pieces:
            super().on_body(b"".join(pieces))

    def _count_header(self, size: int) -> None:
        self._header_field_bytes += size
        if self._header_field_bytes > MAX_HEADER_BYTES:
            self._reject(HeadersTooLarge())

    def _reject(self, error: ApiError) -> None:
        """Stop the parser in the middle of what it has been fed, and respond with `error`."""
        self._rejection = error
        raise error

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
        """uvicorn's hook for bytes that are not HTTP, and for what `_reject` has stopped."""
        self._send_error_and_close(
            self._rejection or InvalidRequest("This is not a valid HTTP request.")
        )

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
        # Once a response has started, an error can only be signalled by truncating it. While others
        # wait in the pipeline, it would be taken for the response to one of them.
        if not self.pipeline and (
            self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
        ):
            self.transport.write(_encode_error_response(error))
        self._schedule_check()
        self.transport.close()


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI app of a connection above the limit."""
    error = ServiceUnavailable("Too many open connections. Please retry in a moment.")
    headers, body = _build_error_response(error)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _encode_error_response(error: ApiError) -> bytes:
    headers, body = _build_error_response(error)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[error.status] + head.encode() + b"\r\n" + body


def _build_error_response(error: ApiError) -> tuple[dict[str, str], bytes]:
    body = json.dumps(error.body()).encode()
    headers = {
        **error.headers,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": ids.request_id(),
        "connection": "close",
    }
    return headers, body
