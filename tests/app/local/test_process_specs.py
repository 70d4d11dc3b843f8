"""Reading the readiness of a running service."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from app.local import process_specs
from app.operations.schemas import Check, Readiness

UNRESPONSIVE = "The engine did not respond within 3 s."
UNREADY = Readiness(
    status="unavailable",
    checks={"database": Check(ok=True), "engine": Check(ok=False, message=UNRESPONSIVE)},
)


class NotReady(BaseHTTPRequestHandler):
    """Serves a /readyz with an unresponsive engine, and another page without JSON."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        body = UNREADY.model_dump_json() if self.path == "/readyz" else "<html>"
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing: it would mix with the test's output."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), NotReady) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_unready_service_has_the_problems_of_its_dependencies(url: str) -> None:
    readiness = process_specs.fetch_readiness(f"{url}/readyz", timeout_seconds=60)
    assert readiness == UNREADY
    assert process_specs.problems_sentence(readiness) == UNRESPONSIVE
    assert not process_specs.is_ok(f"{url}/readyz")


def test_only_trainers_have_a_health_problem(url: str) -> None:
    assert process_specs.trainer_health_problem(f"{url}/readyz") is None


def test_other_responses_are_none(url: str) -> None:
    assert process_specs.fetch_readiness(f"{url}/other", timeout_seconds=60) is None
    assert process_specs.fetch_readiness("http://127.0.0.1:1/readyz", timeout_seconds=60) is None
