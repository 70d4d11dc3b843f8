"""What a running service says of itself to those who ask from outside."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from app.local import services
from app.operations.schemas import Check, Readiness

HANGS = "The engine has not answered for 3 s."
UNREADY = Readiness(
    status="unavailable",
    checks={"database": Check(ok=True), "engine": Check(ok=False, message=HANGS)},
)


class NotReady(BaseHTTPRequestHandler):
    """A /readyz whose engine hangs, and another page that is no /readyz."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        body = UNREADY.model_dump_json() if self.path == "/readyz" else "<html>"
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing: it would be between the tests' own lines."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), NotReady) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_service_that_is_not_ready_names_the_part(url: str) -> None:
    told = services.fetch_readiness(f"{url}/readyz", seconds=60)
    assert told == UNREADY
    assert services.problems_sentence(told) == HANGS
    assert not services.is_ok(f"{url}/readyz")


def test_trouble_is_only_of_trainers(url: str) -> None:
    assert services.trainer_health_problem(f"{url}/readyz") is None


def test_what_is_no_readiness_is_none(url: str) -> None:
    assert services.fetch_readiness(f"{url}/other", seconds=60) is None
    assert services.fetch_readiness("http://127.0.0.1:1/readyz", seconds=60) is None
