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
from app.errors import ApiError, HeadTooLarge, InvalidRequest, TooSlow, Unavailable
from app.http import error_handlers

# From the connection, or the first byte of a further request, to the end of its headers.
HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024
# So often it is looked whether a client takes what it is sent. One that has taken nothing in two
# looks after another is let go: it would hold its answer, and what makes it, for ever.
LOOK_SECONDS = 5.0
IDLE_LOOKS = 2
# The kernel takes megabytes for a client, and keeps them after the connection is closed here.
UNSENT_BYTES = 128 * 1024
# Each costs memory and a file descriptor. The guard's limit on requests comes first.
MOST_CONNECTIONS = 10_000
# Drop what is unsent as the connection ends, instead of offering it for minutes more.
NO_LINGER = struct.pack("ii", 1, 0)


class Protocol(HttpToolsProtocol):
    """One connection, whose client sends its heads in time and not too large, and takes what it is
    sent."""

    head_seconds = HEAD_SECONDS
    look_seconds = LOOK_SECONDS
    most_connections = MOST_CONNECTIONS

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline: TimerHandle | None = None
        self._heard = False
        self._head_bytes = 0
        self._looking: TimerHandle | None = None
        self._untaken = 0
        self._idle_looks = 0
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if len(self.connections) > self.most_connections:
            # For all its requests: those of the connections before it go on.
            self.app = _refuse_connection
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        was_in_head = self._deadline is not None
        super().data_received(data)
        # Counted only if all of it belongs to the head: a body may come in the same piece.
        if was_in_head and self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HeadTooLarge())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        # Whoever asks again has taken something, and is sent more from now on.
        self._untaken = 0
        self._look_later()
        super().on_headers_complete()

    def resume_writing(self) -> None:
        self._untaken = 0
        super().resume_writing()

    def look(self) -> None:
        """Let a client go that takes nothing of what it is sent."""
        self._looking = None
        untaken = self.untaken_bytes()
        # While more is being written, the same number does not mean that nothing was taken.
        idle = untaken > 0 and untaken == self._untaken and self._is_all_written()
        self._idle_looks = self._idle_looks + 1 if idle else 0
        self._untaken = untaken
        if self._idle_looks == IDLE_LOOKS:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.transport.abort()
        elif untaken or not self._is_answered():
            self._look_later()

    def untaken_bytes(self) -> int:
        """The bytes that the client's machine has not acknowledged.

        Those in the kernel count: it asks for more only when it has room for a lot, so that of a
        client that reads slowly and steadily nothing could be seen here for long. What is seen
        goes by up to 64 KiB still, as kernels tell of room in their buffers.
        """
        connection = self.transport.get_extra_info("socket")
        queued = ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(struct.calcsize("i")))
        (in_kernel,) = struct.unpack("i", queued)
        return self.transport.get_write_buffer_size() + int(in_kernel)

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = self.loop.call_later(self.look_seconds, self.look)

    def _is_all_written(self) -> bool:
        return self.flow.write_paused or self.transport.is_closing() or self._is_answered()

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for bytes that are no HTTP."""
        self._refuse(InvalidRequest("This is not a valid HTTP request."))

    def _begin_head(self) -> None:
        if self._deadline is None:
            self._head_bytes = 0
            self._deadline = self.loop.call_later(self.head_seconds, self._give_up)

    def _end_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self._heard:
            self._refuse(TooSlow("The request's headers did not arrive in time. Send it again."))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        self._end_head()
        # Within an answer that has begun, only breaking it off can tell of an error.
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_answer(error))
        self._look_later()
        self.transport.close()


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    """The app of one connection too many."""
    answer = error_handlers.render(
        Unavailable("Too many connections are open. Try again in a moment.")
    )
    answer.headers.update({"x-request-id": ids.request_id(), "connection": "close"})
    await answer(scope, receive, send)


def _answer(error: ApiError) -> bytes:
    body = json.dumps(error.body()).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": ids.request_id(),
        "connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[error.status] + head.encode() + b"\r\n" + body
