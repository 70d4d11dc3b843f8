"""An S3 server with injected faults: moto behind WSGI middleware that corrupts its responses."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, Literal

from boto3.session import Session
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

KEY_ID, SECRET = "id", "not-in-any-log-s3-secret"
# The WSGI libraries have no common types.
Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


@dataclass(eq=False)
class StoreFault:
    """A fault of requests with this method (`*`: any) and a path that matches a glob pattern.

    max_hits     number of requests to hit, after which the fault is over
    status       respond with it instead of performing the request
    hold         hold the request `"before"` or `"after"` performing it, until `release`
    truncate_to  share of the response body to send before breaking off
    flip_bit     flip one bit of the response body
    probability  probability that a matching request is hit
    """

    method: str
    pattern: str
    max_hits: float = 1
    status: int | None = None
    hold: Literal["before", "after"] | None = None
    truncate_to: float | None = None
    flip_bit: bool = False
    probability: float = 1.0
    hits: int = 0
    hit: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def wait_until_hit(self, seconds: float = 30) -> None:
        assert self.hit.wait(seconds), f"no {self.method} {self.pattern} was sent"

    def release(self) -> None:
        self._released.set()

    def wait_for_release(self) -> None:
        self.hit.set()
        # Bounded, so that a failed test leaves no thread behind.
        self._released.wait(120)


STATUSES = {
    409: ("409 Conflict", "ConditionalRequestConflict"),
    412: ("412 Precondition Failed", "PreconditionFailed"),
    500: ("500 Internal Server Error", "InternalError"),
    503: ("503 Slow Down", "SlowDown"),
}


class FaultInjector:
    """WSGI middleware that applies faults to requests."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._faults: list[StoreFault] = []
        self._random = random.Random(7)

    def add(self, fault: StoreFault) -> StoreFault:
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
        if fault.hold == "before":
            fault.wait_for_release()
        if fault.status is not None:
            return _respond_with_error(environ, start_response, fault.status)
        chunks = self._app(environ, start_response)
        if fault.hold == "after":
            body = b"".join(chunks)
            fault.wait_for_release()
            return [body]
        return _corrupt(chunks, fault)

    def _next(self, environ: Environ) -> StoreFault | None:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self._lock:
            for fault in self._faults:
                if fault.method not in (method, "*") or not fnmatch(path, fault.pattern):
                    continue
                if fault.hits >= fault.max_hits or self._random.random() >= fault.probability:
                    continue
                fault.hits += 1
                fault.hit.set()
                return fault
        return None


def _respond_with_error(environ: Environ, start_response: Any, status: int) -> Iterable[bytes]:
    # Read first: a client that is still sending would see a reset instead of the response.
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    line, code = STATUSES[status]
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    start_response(line, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _corrupt(chunks: Iterable[bytes], fault: StoreFault) -> Iterator[bytes]:
    body = b"".join(chunks)
    if fault.flip_bit and body:
        middle = len(body) // 2
        body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    # Content-Length states the whole length, so that the client sees the truncation.
    yield body if fault.truncate_to is None else body[: int(len(body) * fault.truncate_to)]


class QuietRequestHandler(MotoRequestHandler):
    """Logs no requests."""

    def log(self, *_args: Any) -> None:
        return


class ObjectServer:
    """moto with injected faults, in threads of this process."""

    def __init__(self) -> None:
        self.faults = FaultInjector(DomainDispatcherApplication(create_backend_app))
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", 0, self.faults, threaded=True, request_handler=QuietRequestHandler
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
