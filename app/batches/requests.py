"""Requests of a range of a batch, which are sent to the model's engine at a low priority."""

from collections.abc import Mapping, Sequence

from app import ids
from app.batches.counts import Total
from app.batches.input import parse_line
from app.batches.output import build_line
from app.errors import ApiError
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
        answer = await self._requests.answer(
            (self._batch_id, index), self._model, self._endpoint, request.body, request_id
        )
        usage = _read_usage(answer)
        answer = await self._translate(request.body, answer)
        line = build_line(
            self._batch_id,
            index,
            request.custom_id,
            status=answer.status,
            request_id=request_id,
            body=answer.body,
        )
        is_success = answer.status < 400
        return ItemResult(index, is_success, line, usage if is_success else {})

    async def _translate(self, body: object, answer: Answer) -> Answer:
        """Make the endpoint's answer from that of another one, if the engine has only that."""
        make_translator = self._endpoint.make_translator
        if make_translator is None or isinstance(self._model, ApiError):
            return answer
        try:
            translator = make_translator(self._endpoint.parse(body), self._model)
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
