"""Validation of one file while it arrives, in the CPU pool: it would hold the interpreter lock."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from app.cpu_pool.pool import CpuPool, TaskStream
from app.formats import ValidationReport
from app.formats.validation_task import ValidationTask, parse_report, validate

# Of a task of the pool: projects take turns after each. A file of one block is one task.
BLOCK_BYTES = 256 * 2**10


class FileValidation:
    """Validator of one file: `collect` its bytes, `advance` after each few, `finish` at its end."""

    def __init__(self, pool: CpuPool, project_id: str, resources: AsyncExitStack) -> None:
        self._pool = pool
        self._project_id = project_id
        self._resources = resources
        self._stream: TaskStream | None = None
        self._pending = bytearray()

    def collect(self, chunk: bytes) -> None:
        """Remember the next bytes. May be called in a thread."""
        self._pending += chunk

    async def advance(self) -> None:
        """Validate the whole blocks that were collected, but keep the last. Raises CpuPoolError."""
        while len(self._pending) > BLOCK_BYTES:
            block = bytes(self._pending[:BLOCK_BYTES])
            del self._pending[:BLOCK_BYTES]
            if self._stream is None:
                stream = self._pool.stream(self._project_id, ValidationTask)
                self._stream = await self._resources.enter_async_context(stream)
            await self._stream.feed(block)

    async def finish(self) -> ValidationReport:
        """Return the report on all that was collected. Raises CpuPoolError."""
        rest = bytes(self._pending)
        if self._stream is None:
            return parse_report(await self._pool.call(self._project_id, validate, rest))
        await self._stream.feed(rest)
        return parse_report(await self._stream.finish())


@asynccontextmanager
async def validate_file(pool: CpuPool, project_id: str) -> AsyncIterator[FileValidation]:
    """Open the validation of one file."""
    async with AsyncExitStack() as resources:
        yield FileValidation(pool, project_id, resources)
