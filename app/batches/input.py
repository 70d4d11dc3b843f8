"""Input of a batch: one request per line. All lines are checked before any is sent."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from app.errors import InvalidRequest
from app.formats.lines import Line
from app.http.strict_json import parse_json
from app.inference.endpoints import EMBEDDINGS_PATH, Endpoint
from app.work.kinds import PlannedRange

MAX_REQUESTS = 50_000
# Of all requests to /v1/embeddings together, as at OpenAI.
MAX_EMBEDDING_INPUTS = 50_000
MAX_CUSTOM_ID_LENGTH = 512
# Errors that a batch shows.
MAX_ERRORS = 100
# A range is what one process takes over from another that was killed, and what it holds in memory.
MAX_RANGE_REQUESTS = 100
MAX_RANGE_BYTES = 2**20
# Texts to embed, whose answers are far larger than they are. One request may have more.
MAX_RANGE_INPUTS = 1000


@dataclass(frozen=True, slots=True)
class InputError:
    """An error of the input; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One line: the client's name for it, and the body of the request."""

    custom_id: str
    body: Any


@dataclass(slots=True)
class CheckedInput:
    """Result of checking the input: its requests in ranges, or errors."""

    model: str | None = None
    num_requests: int = 0
    ranges: list[PlannedRange] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)


class _InvalidLine(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def check(
    lines: Iterator[Line],
    endpoint: Endpoint,
    *,
    max_line_bytes: int,
    is_built_in: Callable[[str], bool] = lambda _model: True,
) -> CheckedInput:
    """Check all lines, and divide them into ranges.

    `is_built_in` says whether the built-in engine answers for a model, which decides about fields
    that the API leaves to engines.
    """
    checker = _Checker(endpoint, max_line_bytes, is_built_in)
    for number, offset, line in lines:
        checker.add(number, offset, line)
        if len(checker.found.errors) >= MAX_ERRORS:
            break
    return checker.finish()


def parse_line(line: bytes, endpoint: Endpoint) -> BatchRequest:
    """Parse a line that was checked."""
    document = parse_json(line, max_values=endpoint.max_values)
    return BatchRequest(document["custom_id"], document["body"])


class _Checker:
    """Checks lines one after the other, in memory that grows by a hash for each."""

    def __init__(
        self, endpoint: Endpoint, max_line_bytes: int, is_built_in: Callable[[str], bool]
    ) -> None:
        self._endpoint = endpoint
        self._max_line_bytes = max_line_bytes
        self._find_is_built_in = is_built_in
        # Of the first line's model, which is that of all lines.
        self._is_built_in = False
        self._lines_by_id: dict[int, int] = {}
        self._num_inputs = 0
        self._range: tuple[int, int, int] | None = None
        self.found = CheckedInput()

    def add(self, number: int, offset: int, line: bytes | None) -> None:
        found = self.found
        if found.num_requests == MAX_REQUESTS:
            self._add_error(
                "too_many_tasks",
                f"The file has more than {MAX_REQUESTS} requests. Split it into several batches.",
                number,
            )
            found.num_requests += 1
        if found.num_requests > MAX_REQUESTS:
            return
        inputs_before = self._num_inputs
        try:
            self._check(number, line)
        except _InvalidLine as error:
            self._add_error(error.code, error.message, number, error.param)
        self._extend_range(offset, len(line or b""), inputs_before)
        found.num_requests += 1

    def finish(self) -> CheckedInput:
        self._close_range()
        if not self.found.num_requests:
            self._add_error("empty_batch", "The file has no requests: one JSON object per line.")
        return self.found

    def _check(self, number: int, line: bytes | None) -> None:
        document = self._parse(line)
        custom_id = _read_text(document, "custom_id")
        if not 0 < len(custom_id) <= MAX_CUSTOM_ID_LENGTH:
            raise _InvalidLine(
                "invalid_custom_id",
                f"Invalid 'custom_id': expected 1 to {MAX_CUSTOM_ID_LENGTH} characters.",
                "custom_id",
            )
        # A hash of 64 bits, since 50,000 long ids would take much memory. The chance that two of
        # them are equal is one in a billion, and it is keyed, so that nobody can provoke it.
        first = self._lines_by_id.setdefault(hash(custom_id), number)
        if first != number:
            raise _InvalidLine(
                "duplicate_custom_id",
                f"The custom_id of this line is that of line {first} too. Each must be unique.",
                "custom_id",
            )
        _check_method(document)
        self._check_url(document)
        self._check_body(document)

    def _parse(self, line: bytes | None) -> dict[str, Any]:
        if line is None:
            raise _InvalidLine(
                "request_too_large", f"The line is longer than {self._max_line_bytes} bytes."
            )
        try:
            document = parse_json(line, max_values=self._endpoint.max_values)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            reason = getattr(error, "msg", "it is not UTF-8")
            raise _InvalidLine(
                "invalid_json_line", f"This line cannot be read as JSON: {reason}."
            ) from error
        if not isinstance(document, dict):
            raise _InvalidLine("invalid_json_line", "This line is not a JSON object.")
        return document

    def _check_url(self, document: dict[str, Any]) -> None:
        url = _read_text(document, "url")
        if url != self._endpoint.path:
            raise _InvalidLine(
                "url_mismatch",
                f"The url of this line is not the batch's endpoint, '{self._endpoint.path}'.",
                "url",
            )

    def _check_body(self, document: dict[str, Any]) -> None:
        if not isinstance(document.get("body"), dict):
            raise _missing("body", "an object, the body of the request")
        with _as_invalid_line():
            body = self._endpoint.parse(document["body"])
        if getattr(body, "stream", None):
            raise _InvalidLine(
                "invalid_request",
                "Requests of a batch cannot be streamed. Omit 'stream', or set it to false.",
                "body.stream",
            )
        self._check_model(body.model)
        if self._is_built_in:
            with _as_invalid_line():
                self._endpoint.check_for_built_in_engine(body)
        if self._endpoint.path == EMBEDDINGS_PATH:
            self._count_inputs(len(body.input))

    def _check_model(self, model: str) -> None:
        if self.found.model is None:
            self.found.model = model
            self._is_built_in = self._find_is_built_in(model)
        elif model != self.found.model:
            raise _InvalidLine(
                "model_mismatch",
                "The model of this line is not that of the lines before. All requests of a batch "
                "are for one model; make a batch for each.",
                "body.model",
            )

    def _count_inputs(self, number: int) -> None:
        before, self._num_inputs = self._num_inputs, self._num_inputs + number
        if before <= MAX_EMBEDDING_INPUTS < self._num_inputs:
            raise _InvalidLine(
                "too_many_inputs",
                f"Up to this line there are more than {MAX_EMBEDDING_INPUTS} texts to embed. Split "
                "the file into several batches.",
                "body.input",
            )

    def _extend_range(self, offset: int, size: int, inputs_before: int) -> None:
        index = self.found.num_requests
        if self._range is not None:
            first, start, inputs = self._range
            if (
                index - first >= MAX_RANGE_REQUESTS
                or offset + size - start > MAX_RANGE_BYTES
                or self._num_inputs - inputs > MAX_RANGE_INPUTS
            ):
                self._close_range()
        if self._range is None:
            self._range = (index, offset, inputs_before)

    def _close_range(self) -> None:
        if self._range is None:
            return
        first, start, _ = self._range
        end = min(self.found.num_requests, MAX_REQUESTS)
        self.found.ranges.append(PlannedRange(first, end, {"offset": start}))
        self._range = None

    def _add_error(
        self, code: str, message: str, line: int | None = None, param: str | None = None
    ) -> None:
        self.found.errors.append(InputError(code, message, line, param))


@contextmanager
def _as_invalid_line() -> Iterator[None]:
    """Make the error of a body that of its line."""
    try:
        yield
    except InvalidRequest as error:
        param = "body" if error.error_param is None else f"body.{error.error_param}"
        raise _InvalidLine(error.error_code or "invalid_request", error.message, param) from error


def _check_method(document: dict[str, Any]) -> None:
    if _read_text(document, "method") != "POST":
        raise _InvalidLine("invalid_method", "Invalid 'method': expected 'POST'.", "method")


def _read_text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise _missing(name, "a string")
    return value


def _missing(name: str, kind: str) -> _InvalidLine:
    message = f"Missing required parameter: '{name}', {kind}."
    return _InvalidLine("missing_required_parameter", message, name)
