"""Contents of files, as pages that show some of their rows need them."""

import base64
from collections.abc import Iterable
from typing import Any

import orjson

from app.console.api_client import ApiCallError, ApiClient, build_path


async def read_content(api: ApiClient, file_id: str) -> bytes:
    """Read a whole file. Raises ApiCallError if it is gone, or too long for a page."""
    path = build_path("v1", "files", file_id, "content")
    async with api.stream("GET", path) as response:
        content = await response.read()
    if response.status >= 400:
        raise ApiCallError(response.status, _read_error(content))
    return content


async def read_result(api: ApiClient, file_id: str) -> Any:
    """Read a result file of JSON, which is sent as base64 unless the operator chose otherwise.

    Raises ApiCallError.
    """
    content = await read_content(api, file_id)
    if not content.startswith(b"{"):
        content = base64.b64decode(content)
    return orjson.loads(content)


async def read_rows(api: ApiClient, file_id: str) -> list[bytes]:
    """Read the lines of a file that are not blank; [] if it is gone, or too long for a page."""
    try:
        content = await read_content(api, file_id)
    except ApiCallError:
        return []
    return [line for line in content.splitlines() if line.strip()]


def parse_rows(lines: list[bytes], positions: Iterable[int]) -> dict[int, Any]:
    """Parse the rows at some positions, which count from 1; those that the file lacks are left out.

    A file may have been written by other means than it was checked by, so a row may be no JSON.
    """
    rows = {}
    for position in positions:
        if 0 < position <= len(lines):
            try:
                rows[position] = orjson.loads(lines[position - 1])
            except orjson.JSONDecodeError:
                continue
    return rows


def _read_error(content: bytes) -> dict[str, Any]:
    try:
        error = orjson.loads(content).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return {}
    return error if isinstance(error, dict) else {}
