"""A webhook receiver for tests: records requests, and responds well or badly."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
Responder = Callable[[socket.socket], object]


@dataclass
class WebhookReceiver:
    """Listens on a loopback port; `requests` has the headers and bodies received."""

    port: int
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    respond: Responder = lambda connection: connection.sendall(NO_CONTENT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def handle(self, connection: socket.socket) -> None:
        self.connections += 1
        # Some tests make the client close the connection.
        with suppress(OSError), connection:
            self.requests.append(_read_request(connection))
            self.respond(connection)


def respond_with_status(code: int, *headers: str) -> Responder:
    """Respond with a status and an empty body."""
    head = "\r\n".join([f"HTTP/1.1 {code} X", *headers, "Content-Length: 0", "", ""])
    return lambda connection: connection.sendall(head.encode())


@contextmanager
def run_receiver(tls: ssl.SSLContext | None = None) -> Iterator[WebhookReceiver]:
    """Run a receiver in a background thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    receiver = WebhookReceiver(listener.getsockname()[1])

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(
                target=_handle_connection, args=(receiver, connection, tls), daemon=True
            ).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield receiver
    finally:
        # Closing alone does not wake a thread that is blocked in accept().
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


def _handle_connection(
    receiver: WebhookReceiver, connection: socket.socket, tls: ssl.SSLContext | None
) -> None:
    with suppress(OSError):
        receiver.handle(tls.wrap_socket(connection, server_side=True) if tls else connection)


def _read_request(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line.partition(":") for line in head.decode().split("\r\n")[1:]]
    headers = {name.lower(): value.strip() for name, _, value in lines}
    while len(body) < int(headers.get("content-length", "0")):
        body += _receive(connection)
    return headers, body


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise OSError("the client closed the connection")
    return data
