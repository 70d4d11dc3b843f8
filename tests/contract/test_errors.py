"""Every error response has OpenAI's envelope, and every response has a request id."""

import json

import pytest
from openai import AuthenticationError, OpenAI

from tests.contract.running_stack import Stack
from tests.polling import wait_until

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/fine_tuning/jobs", None, 404),
        ("PUT", "/v1/files", None, 405),
        ("DELETE", "/v1/chat/completions", None, 405),
        ("POST", "/v1/fine_tuning/jobs", b"{", 400),
        ("POST", "/v1/fine_tuning/jobs", b"[]", 400),
        ("POST", "/v1/fine_tuning/jobs", b"{}", 400),
        ("POST", "/v1/fine_tuning/jobs", b'{"model": "\\ud800", "training_file": "x"}', 400),
        ("POST", "/v1/fine_tuning/jobs", b'{"model": "a\\u0000", "training_file": "x"}', 400),
        ("POST", "/v1/fine_tuning/jobs", b"[" * 100_000, 400),
        ("POST", "/v1/chat/completions", b"\xff\xfe", 400),
        ("POST", "/v1/chat/completions", b'{"model": 5, "messages": {}}', 400),
        ("POST", "/v1/files", b"no multipart", 400),
        ("GET", "/v1/fine_tuning/jobs?limit=-1", None, 400),
        ("GET", "/v1/fine_tuning/jobs?limit=1000000000", None, 400),
        ("GET", "/v1/files/..%2f..%2fapi_key", None, 404),
        ("GET", "/v1/files/%00", None, 404),
        ("GET", "/v1/models/ft:a:b:c:d", None, 404),
    ],
)
def test_error_envelope(
    stack: Stack, method: str, path: str, body: bytes | None, status: int
) -> None:
    with stack.http() as http:
        response = http.request(
            method, path, content=body, headers={"Content-Type": "application/json"}
        )
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) > 10
    assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("key", ["", "sk-wrong", "My API Key", "sk-luthier-" + "0" * 43])
def test_an_invalid_key_is_rejected_as_such(stack: Stack, key: str) -> None:
    client = OpenAI(base_url=f"{stack.url}/v1", api_key=key or "x", max_retries=0)
    with pytest.raises(AuthenticationError) as raised:
        client.models.list()
    assert raised.value.code == "invalid_api_key"
    assert raised.value.request_id is not None


def test_the_log_has_the_request_id_and_no_secret(stack: Stack) -> None:
    with stack.http() as http:
        response = http.get("/v1/models?marker=canary-in-query")
    request_id = response.headers["x-request-id"]

    def log() -> str:
        return "".join(p.read_text(errors="replace") for p in (stack.home / "logs").glob("*.log"))

    # Written after the response.
    wait_until("a log line has the request's id", lambda: request_id in log())
    text = log()
    lines = [line for line in text.splitlines() if request_id in line]
    assert json.loads(lines[-1])["status"] == 200
    assert stack.key not in text
    assert "canary-in-query" not in text


def test_health_needs_no_key(stack: Stack) -> None:
    with stack.http(key="none") as http:
        assert http.get("/healthz").status_code == 200
        ready = http.get("/readyz")
    assert ready.status_code == 200
    assert {"database", "broker", "storage", "engine"} <= set(ready.json()["checks"])


def test_no_response_names_the_server(stack: Stack) -> None:
    """With the process as it is started for users; the header would only help attackers."""
    with stack.http() as http:
        for path in ("/healthz", "/v1/models", "/v1/nothing", "/docs"):
            assert "server" not in http.get(path).headers, path
