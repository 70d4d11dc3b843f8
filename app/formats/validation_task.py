"""Validation of a training file in another process: bytes in, the report as JSON out."""

from dataclasses import asdict
from typing import Any

import orjson

from app.formats.dataset_summary import DatasetSummary
from app.formats.errors import ErrorCode, LineError
from app.formats.format import FormatName
from app.formats.validator import DatasetValidator, ValidationReport


class ValidationTask:
    """A task of the CPU pool: validates the stream of a file's bytes."""

    def __init__(self) -> None:
        self._validator = DatasetValidator()

    def feed(self, chunk: bytes) -> None:
        self._validator.feed(chunk)

    def finish(self) -> bytes:
        return orjson.dumps(asdict(self._validator.finish()))


def validate(content: bytes) -> bytes:
    """A task of the CPU pool: validates a whole file."""
    task = ValidationTask()
    task.feed(content)
    return task.finish()


def parse_report(result: bytes) -> ValidationReport:
    """The report that a task has returned."""
    fields = orjson.loads(result)
    return ValidationReport(
        format=None if fields["format"] is None else FormatName(fields["format"]),
        example_count=fields["example_count"],
        errors=tuple(_parse_error(error) for error in fields["errors"]),
        error_count=fields["error_count"],
        summary=None if fields["summary"] is None else _parse_summary(fields["summary"]),
    )


def _parse_error(fields: dict[str, Any]) -> LineError:
    return LineError(**{**fields, "code": ErrorCode(fields["code"])})


def _parse_summary(fields: dict[str, Any]) -> DatasetSummary:
    return DatasetSummary(**{**fields, "notes": tuple(fields["notes"])})
