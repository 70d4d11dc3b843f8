"""An S3 server whose faults a test chooses: moto, behind a layer that spoils its answers."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from boto3.session import Session
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

KEY_ID, SECRET = "id", "not-in-any-log-s3-secret"
# WSGI ships no types of its own.
Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


@dataclass(eq=False)
class Fault:
    """What happens to the next `times` requests with this method and a path like `pattern`.

    status    answer with it instead of doing anything
    held      wait before (`"before"`) or after (`"after"`) the request was done
    cut       let this share of the body through, and break off
    flip      turn one bit of the body
    share     of the matching requests, which are hit at random
    """

    method: str
    pattern: str
    times: float = 1
    status: int | None = None
    held: str | None = None
    cut: float | None = None
    flip: bool = False
    share: float = 1.0
    hits: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float = 30) -> None:
        assert self.reached.wait(seconds), f"no {self.method} {self.pattern} came"

    def release(self) -> None:
        self._released.set()

    def hold(self) -> None:
        self.reached.set()
        # Bounded, so that a test that fails does not leave a thread behind.
        self._released.wait(120)


STATUSES = {
    409: ("409 Conflict", "ConditionalRequestConflict"),
    412: ("412 Precondition Failed", "PreconditionFailed"),
    500: ("500 Internal Server Error", "InternalError"),
    503: ("503 Slow Down", "SlowDown"),
}


class Faulty:
    """WSGI middleware around moto."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._random = random.Random(7)

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        fault = self._next(environ)
        if fault is None:
            return self._app(environ, start_response)
        if fault.held == "before":
            fault.hold()
        if fault.status is not None:
            return _refuse(environ, start_response, fault.status)
        pieces = self._app(environ, start_response)
        if fault.held == "after":
            body = b"".join(pieces)
            fault.hold()
            return [body]
        return _spoil(pieces, fault)

    def _next(self, environ: Environ) -> Fault | None:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self._lock:
            for fault in self._faults:
                if fault.method not in (method, "*") or not fnmatch(path, fault.pattern):
                    continue
                if fault.hits >= fault.times or self._random.random() >= fault.share:
                    continue
                fault.hits += 1
                fault.reached.set()
                return fault
        return None


def _refuse(environ: Environ, start_response: Any, status: int) -> Iterable[bytes]:
    # Read first: a client that is still sending would see a reset instead of the answer.
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    line, code = STATUSES[status]
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    start_response(line, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _spoil(pieces: Iterable[bytes], fault: Fault) -> Iterator[bytes]:
    body = b"".join(pieces)
    if fault.flip and body:
        middle = len(body) // 2
        body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    # The header has announced the whole length: the client sees that it breaks off.
    yield body if fault.cut is None else body[: int(len(body) * fault.cut)]


class Quiet(MotoRequestHandler):
    """Says nothing of each request."""

    def log(self, *_args: Any) -> None:
        return


class ObjectServer:
    """moto and its faults, in threads of this process."""

    def __init__(self) -> None:
        self.faults = Faulty(DomainDispatcherApplication(create_backend_app))
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", 0, self.faults, threaded=True, request_handler=Quiet
        )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="objects")
        self._thread.start()

    def client(self) -> Any:
        session = Session(
            aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        return session.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}")

    def close(self) -> None:
        self.faults.clear()
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()
