"""HTTP client of the API, for commands that use a running service as any client does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

TIMEOUT_SECONDS = 120


class ApiFailed(Exception):
    """The service gave an error, or does not answer; the message says why."""


@dataclass(frozen=True, slots=True)
class ApiClient:
    """HTTP client of the API. Errors are raised as ApiFailed with the message of the service."""

    client: httpx.Client

    def get(self, path: str, **query: str | int) -> Any:
        return self._read(self._send("GET", path, params=query))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._read(self._send("POST", path, json=body))

    def upload(self, path: Path) -> str:
        """Upload a training file; returns its id."""
        with path.open("rb") as file:
            response = self._send(
                "POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": file}
            )
        return str(self._read(response)["id"])

    def delete(self, path: str) -> Any:
        return self._read(self._send("DELETE", path))

    def exists(self, path: str) -> bool:
        return self._send("GET", path).is_success

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self.client.request(method, path, **arguments)
        except httpx.TransportError as error:
            url = self.client.base_url
            raise ApiFailed(f"{url} does not answer ({error}). Is `luthier up` running?") from error

    def _read(self, response: httpx.Response) -> Any:
        if response.is_error:
            message = _read_message(response)
            raise ApiFailed(f"The service returned {response.status_code}: {message}")
        return response.json()


def _read_message(response: httpx.Response) -> str:
    """Read the sentence of an error; the whole text of one that is not the API's."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text


@contextmanager
def connect(url: str, key: Path) -> Iterator[ApiClient]:
    """Connect with the API key in a file. Raises ApiFailed."""
    if not key.exists():
        raise ApiFailed(f"No API key in {key}. Start `luthier up` first.")
    headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
    with httpx.Client(
        base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False
    ) as client:
        yield ApiClient(client)
