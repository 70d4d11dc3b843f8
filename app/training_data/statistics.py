"""Statistics of a training file, and rows that two files have in common."""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import orjson

from app.cpu_pool.pool import TaskStream
from app.db.tables import File
from app.errors import InvalidRequest
from app.http.dependencies import AppState
from app.inference.engines import EngineClient
from app.training_data.file_scan import FileScan, LeakageTask, StatisticsTask
from app.training_data.lengths import describe_lengths
from app.training_data.reading import iterate
from app.training_data.rendering import RowRendering, render_rows
from app.training_data.schemas import (
    EqualRow,
    FileLeakage,
    FileStatistics,
    LeakedRow,
    TokenStatistics,
)
from app.wire.training_rows import ModelFacts, RenderedRow

# Of one file. What follows is not counted, and the response says so.
MAX_READ_BYTES = 512 * 2**20
# Each has a sample of up to 2 MiB, or of one longer row.
MAX_REMEMBERED_SCANS = 32


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """Rendered rows of a file's sample; `scale` is the file's examples per row of it."""

    rendering: RowRendering
    max_tokens: int
    rows: Sequence[RenderedRow]
    warnings: Sequence[str]
    scale: float
    facts: ModelFacts | None = None

    @property
    def learned(self) -> list[RenderedRow]:
        return [row for row in self.rows if row.is_learned]

    def estimate_tokens(self, *, with_loss: bool = False) -> int:
        """Estimate the tokens of an epoch: those of the learned rows' sequences."""
        tokens = sum(
            sequence.loss_token_count if with_loss else sequence.token_count
            for row in self.learned
            for sequence in row.sequences
        )
        return round(self.scale * tokens)


class FileScans:
    """Remembers the scans of files, which never change. One per process, for one event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[FileScan, int]] = OrderedDict()

    async def get(self, state: AppState, file: File) -> tuple[FileScan, int]:
        """Scan a file; return also the number of bytes that were read."""
        if file.id not in self._known:
            async with state.cpu_pool.stream(file.project_id, StatisticsTask) as task:
                read = await _feed(state, file, task)
                self._known[file.id] = FileScan.model_validate_json(await task.finish()), read
        self._known.move_to_end(file.id)
        while len(self._known) > MAX_REMEMBERED_SCANS:
            self._known.popitem(last=False)
        return self._known[file.id]


async def measure_rows(
    engines: EngineClient, project_id: str, rendering: RowRendering, scan: FileScan
) -> MeasuredRows:
    """Render a file's sample of rows, without their texts. Raises as `render_rows`."""
    parts = await render_rows(engines, project_id, rendering, scan.sample, None)
    return MeasuredRows(
        rendering,
        parts[0].max_tokens if parts else 0,
        [row for part in parts for row in part.data],
        parts[0].warnings if parts else [],
        scale=scan.examples / max(1, len(scan.sample)),
        facts=parts[0].facts if parts else None,
    )


def describe_tokens(measured: MeasuredRows) -> TokenStatistics:
    """Describe the tokens of a file."""
    rows = measured.rows
    sequences = [sequence for row in measured.learned for sequence in row.sequences]
    return TokenStatistics(
        model=measured.rendering.base.id,
        method=measured.rendering.method,
        max_tokens=measured.max_tokens,
        measured_examples=len(rows),
        left_out_examples=len(rows) - len(measured.learned),
        truncated_examples=sum(any(each.is_truncated for each in row.sequences) for row in rows),
        sequences=describe_lengths(sequence.token_count for sequence in sequences),
        tokens_per_epoch=measured.estimate_tokens(),
        loss_tokens_per_epoch=measured.estimate_tokens(with_loss=True),
        warnings=list(measured.warnings),
    )


def describe_file(
    file: File, scan: FileScan, bytes_read: int, tokens: TokenStatistics | None
) -> FileStatistics:
    """Describe a file by its scan."""
    return FileStatistics(
        file_id=file.id,
        format=file.format,
        bytes=file.bytes,
        bytes_read=bytes_read,
        examples=scan.examples,
        invalid_examples=scan.invalid,
        labels=(file.summary or {}).get("labels", {}),
        duplicate_count=scan.duplicate_count,
        duplicates=[EqualRow(line=line, first_line=first) for line, first in scan.duplicates],
        characters=scan.characters,
        tokens=tokens,
    )


async def find_leakage(state: AppState, file: File, training: File) -> FileLeakage:
    """Find the rows of a held-out file that the training file has too. Raises InvalidRequest."""
    if file.id == training.id:
        raise InvalidRequest(
            "'training_file' is the same file. Name the file that a model is trained on.",
            param="training_file",
        )
    async with state.cpu_pool.stream(file.project_id, LeakageTask) as task:
        read = await _feed(state, file, task)
        await task.feed(LeakageTask.SEPARATOR)
        training_read = await _feed(state, training, task)
        found = orjson.loads(await task.finish())
    return FileLeakage(
        file_id=file.id,
        training_file=training.id,
        bytes_read=read,
        training_bytes_read=training_read,
        count=found["count"],
        rows=[LeakedRow(line=line, training_line=other) for line, other in found["pairs"]],
    )


async def _feed(state: AppState, file: File, task: TaskStream) -> int:
    """Feed a file to a task; return the number of bytes."""
    read = 0
    async with aclosing(iterate(state, file)) as chunks:
        async for chunk in chunks:
            await task.feed(chunk)
            read += len(chunk)
            if read >= MAX_READ_BYTES:
                break
    return read
