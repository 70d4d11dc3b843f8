"""Relay of an engine's chat answer as a response, stored before its last bytes are sent."""

from collections.abc import AsyncIterator, Awaitable, Callable

import orjson

from app import logs
from app.db.session import DatabaseUnavailable
from app.errors import ApiError
from app.inference.engine_errors import EngineUnavailable
from app.responses.answers import ResponseAnswer, to_sse
from app.responses.chat_request import translate_error
from app.responses.serializers import ResponseDict

log = logs.get_logger(__name__)

EVENT_END = b"\n\n"
# What an engine's answer that is none raises.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
Keep = Callable[[ResponseDict], Awaitable[None]]


class ResponseTranslator:
    """Translates the answer of one request. `keep` stores the response, if it is to be."""

    def __init__(self, response: ResponseDict, keep: Keep | None) -> None:
        self._answer = ResponseAnswer(response)
        self._keep = keep
        self._is_begun = False

    async def translate_body(self, status: int, body: bytes) -> bytes:
        if status >= 400:
            return translate_error(body)
        try:
            self._answer.write_whole(orjson.loads(body))
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        await self._store()
        return orjson.dumps(self._answer.response)

    async def translate_stream(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in chunks:
            *events, rest = (rest + chunk).split(EVENT_END)
            translated = self._begin() + b"".join(map(self._translate_event, events))
            if translated:
                yield translated
            if self._has_failed:
                break
        yield self._begin() + await self._end()

    def _begin(self) -> bytes:
        """Not before the engine's first event, by which the time to it is measured."""
        is_begun, self._is_begun = self._is_begun, True
        return b"" if is_begun else to_sse(self._answer.begin())

    def _translate_event(self, event: bytes) -> bytes:
        data = event.strip().removeprefix(b"data:").strip()
        if self._has_failed or not data.startswith(b"{"):
            # `[DONE]`, or a comment that keeps the connection open.
            return b""
        try:
            chunk = orjson.loads(data)
            if not chunk.get("error"):
                return to_sse(self._answer.write(chunk))
            self._answer.fail(EngineUnavailable().message)
        except UNREADABLE as error:
            self._answer.fail(self._unreadable(error).message)
        return b""

    async def _end(self) -> bytes:
        events = b""
        if not self._has_failed:
            try:
                events = to_sse(self._answer.end())
            except UNREADABLE as error:
                self._answer.fail(self._unreadable(error).message)
        try:
            await self._store()
        except ApiError as error:
            self._answer.fail(error.message)
        except DatabaseUnavailable:
            self._answer.fail("The response could not be stored. Please retry in a moment.")
        return events + to_sse(iter([self._answer.last_event()]))

    async def _store(self) -> None:
        if self._keep is not None:
            await self._keep(self._answer.response)

    @property
    def _has_failed(self) -> bool:
        return self._answer.has_failed

    def _unreadable(self, error: Exception) -> EngineUnavailable:
        # Only its kind: the message may quote an answer.
        kind = type(error).__name__
        log.error("engine.unreadable", model=self._answer.response["model"], reason=kind)
        return EngineUnavailable()
