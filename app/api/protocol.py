"""HTTP below ASGI: what uvicorn alone would hold for ever, or answer without our envelope."""

import json
from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app import ids
from app.errors import ApiError, HeadTooLarge, InvalidRequest, TooSlow

# From the connection, or the first byte of a further request, to the end of its headers.
HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024


class Protocol(HttpToolsProtocol):
    """One connection, whose requests have heads that come in time and are not too large."""

    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline: TimerHandle | None = None
        self._heard = False
        self._head_bytes = 0
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
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
        super().on_headers_complete()

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
        self.transport.close()


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
