"""Translation of an engine's answers into those of a route that the engine does not have."""

from collections.abc import AsyncIterator
from typing import Protocol


class AnswerTranslator(Protocol):
    """Makes the answer of another route from that of an engine."""

    async def translate_body(self, status: int, body: bytes) -> bytes:
        """Translate a whole answer, or an error. Raises ServiceUnavailable if it is neither."""

    def translate_stream(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Translate the events of a stream, as soon as they arrive."""
