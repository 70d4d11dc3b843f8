"""Requests of a range of a batch, which are sent to the model's engine at a low priority."""

from collections.abc import Mapping, Sequence
from typing import Any

from app import ids
from app.batches.counts import Total
from app.batches.input import parse_line
from app.batches.output import build_line
from app.errors import ApiError, InvalidRequest
from app.inference.answer_usage import read_tokens
from app.inference.endpoints import Endpoint
from app.inference.engines import EngineClient
from app.inference.unattended_requests import Answer, EngineFailures, UnattendedRequests
from app.models.registry import ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.work.kinds import ItemResult


class BatchRange:
    """The requests of one range, from the lines of the input file."""

    def __init__(
        self,
        engines: EngineClient,
        recorder: TrafficRecorder,
        *,
        batch_id: str,
        project_id: str,
        endpoint: Endpoint,
        model: ResolvedModel | ApiError,
        lines: Mapping[int, bytes],
        engine_failures: EngineFailures,
    ) -> None:
        """`model` is the error of each request if there is no such model any more."""
        self._requests = UnattendedRequests(engines, recorder, project_id, engine_failures)
        self._batch_id = batch_id
        self._endpoint = endpoint
        self._model = model
        self._lines = lines

    @property
    def indexes(self) -> Sequence[int]:
        return list(self._lines)

    async def run(self, index: int, tries: int) -> ItemResult:
        """Send one request. Raises ItemPostponed while the engine is away or has too much to do."""
        request = parse_line(self._lines[index], self._endpoint)
        request_id = ids.request_id()
        answer, usage = await self._answer(index, request.body, request_id)
        line = build_line(
            self._batch_id,
            index,
            request.custom_id,
            status=answer.status,
            request_id=request_id,
            body=answer.body,
        )
        return ItemResult(index, answer.status < 400, line, usage)

    async def _answer(
        self, index: int, document: object, request_id: str
    ) -> tuple[Answer, dict[str, int]]:
        """Send a request. Returns its answer, and the usage of what the engine generated, which is
        there also if the answer cannot be translated."""
        try:
            body = self._endpoint.parse(document)
        except InvalidRequest as error:
            return Answer.of_error(error), {}
        answer = await self._requests.answer(
            (self._batch_id, index), self._model, self._endpoint, body, request_id
        )
        usage = _read_usage(answer) if answer.status < 400 else {}
        return await self._translate(body, answer), usage

    async def _translate(self, body: Any, answer: Answer) -> Answer:
        """Make the endpoint's answer from that of another one, if the engine has only that."""
        make_translator = self._endpoint.make_translator
        if make_translator is None or isinstance(self._model, ApiError):
            return answer
        try:
            translator = make_translator(body, self._model)
            translated = await translator.translate_body(answer.status, answer.body)
        except ApiError as error:
            return Answer.of_error(error)
        return Answer(answer.status, translated)


def _read_usage(answer: Answer) -> dict[str, int]:
    """Read the usage of an answer, by the names of a batch's totals."""
    tokens = read_tokens(answer.body)
    if tokens is None:
        return {}
    return {
        Total.INPUT: tokens.input,
        Total.CACHED: tokens.cached,
        Total.OUTPUT: tokens.output,
        Total.REASONING: tokens.reasoning,
    }
