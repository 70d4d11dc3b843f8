"""Asks a base model's engine whether a training file has anything to learn: it has the template.

Where the engine cannot tell (it does not respond, is another server, or lacks the model's files),
the training process finds out, before it loads the model.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from pydantic import ValidationError

from app import logs
from app.catalog import CatalogModel
from app.formats import FormatName, LineError
from app.formats.nothing_learned import describe_nothing_learned
from app.formats.rows import Row, RowParser
from app.settings import Settings
from app.wire.engine import TrainingRowsReport
from app.wire.engine_metadata import PROJECT_HEADER

log = logs.get_logger(__name__)

# For all rows of a file. Nearly always the first request finds something to learn.
TOTAL_TIMEOUT_SECONDS = 10.0
# Per request. Other projects' prompts are rendered between two requests.
MAX_ROWS = 32
MAX_BYTES = 256 * 2**10
# Time after an engine did not respond in which no file waits for it.
PAUSE_SECONDS = 30.0
RENDERED_FORMATS = (FormatName.CHAT, FormatName.COMPLETION, FormatName.PREFERENCE)


@dataclass(frozen=True, slots=True)
class RowsToCheck:
    """Bytes of a valid training file, and what decides how its rows are rendered."""

    project_id: str
    base: CatalogModel
    max_tokens: int | None
    chunks: Iterable[bytes]
    drops_long_rows: bool = False


class RenderingCheck:
    """Client of the default engine; one per process. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        key = settings.engine_api_key
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        # Engines are on the internal network: an outbound proxy must not see their requests.
        self._client = httpx.Client(base_url=settings.engine_url, headers=headers, trust_env=False)
        self._paused_until = 0.0

    def close(self) -> None:
        self._client.close()

    def can_check(self, base: CatalogModel) -> bool:
        """True if the default engine serves the model, and has responded lately."""
        return base.engine is None and time.monotonic() >= self._paused_until

    def find_problem(self, file: RowsToCheck) -> str | None:
        """Return the reason why nothing of a file can be learned.

        None if something can be learned, or if the engine does not tell in time.
        """
        deadline = time.monotonic() + TOTAL_TIMEOUT_SECONDS
        chunks = _until(file.chunks, deadline)
        parser = RowParser()
        first, num_turns, max_tokens = 1, 0, 0
        try:
            for rows in _batch(_parse(chunks, parser)):
                remaining_seconds = deadline - time.monotonic()
                if remaining_seconds <= 0 or parser.format is None:
                    return None
                body = _build_body(file, parser.format.name, first, rows)
                report = self._post(file.project_id, body, remaining_seconds)
                if report.error is not None or report.is_learned:
                    return report.error
                first += len(rows)
                num_turns, max_tokens = num_turns + report.num_turns, report.max_tokens
        except (httpx.HTTPError, ValidationError, _NotRendered) as error:
            self._pause(error)
            return None
        except TimeoutError:
            log.warning("rendering_check.skipped", reason="the file could not be read in time")
            return None
        if parser.format is None or first == 1:
            return None
        return describe_nothing_learned(
            parser.format.name, num_turns, max_tokens, drops_long_rows=file.drops_long_rows
        )

    def _post(self, project_id: str, body: bytes, timeout_seconds: float) -> TrainingRowsReport:
        headers = {"Content-Type": "application/json", PROJECT_HEADER: project_id}
        response = self._client.post(
            "/v1/check_training_rows", content=body, headers=headers, timeout=timeout_seconds
        )
        response.raise_for_status()
        return TrainingRowsReport.model_validate_json(response.content)

    def _pause(self, error: Exception) -> None:
        log.warning("rendering_check.skipped", reason=repr(error))
        # A slow file of one project must not end the checks of all.
        if isinstance(error, httpx.ConnectError):
            self._paused_until = time.monotonic() + PAUSE_SECONDS


class _NotRendered(Exception):
    """The file is in a format that no engine renders, or has become invalid."""


def _build_body(file: RowsToCheck, format: FormatName, first: int, rows: list[Row]) -> bytes:
    if format not in RENDERED_FORMATS:
        raise _NotRendered(format)
    body = {"model": file.base.id, "format": format, "first": first, "rows": rows}
    return orjson.dumps(body | {"max_tokens": file.max_tokens})


def _until(chunks: Iterable[bytes], deadline: float) -> Iterator[bytes]:
    """Read a file while there is time: a slow store, or a line of gigabytes, may take long.

    Raises TimeoutError.
    """
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise TimeoutError
        yield chunk


def _parse(chunks: Iterable[bytes], parser: RowParser) -> Iterator[Row]:
    for chunk in chunks:
        yield from map(_require_row, parser.feed(chunk))
    yield from map(_require_row, parser.finish())


def _require_row(row: Row | LineError) -> Row:
    if isinstance(row, LineError):
        raise _NotRendered(row.reason)
    return row


def _batch(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Group rows into requests."""
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(orjson.dumps(row))
        if len(batch) == MAX_ROWS or size >= MAX_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
