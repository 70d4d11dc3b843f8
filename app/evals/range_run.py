"""Items of a leased range of a run: each is sampled, graded and summed up."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app import ids
from app.cpu_pool.pool import TASK_TIMEOUT_SECONDS, CpuPool
from app.cpu_pool.protocol import CpuPoolError, PoolOverloaded, Task, TaskCrashed, TaskTimeout
from app.db.tables import OutputItemStatus, UsageKind
from app.errors import ApiError
from app.evals import items, totals
from app.evals.criteria import TestingCriterion
from app.evals.criterion_run import Answers, CriterionRun, count_usage
from app.evals.item_schema import (
    CHECK_TIMEOUT_SECONDS,
    TOO_SLOW,
    SchemaFault,
    SchemaResult,
    SchemaTask,
    describe_schema_fault,
    format_path,
    run_schema_task,
)
from app.evals.items import ItemFault, Sample
from app.evals.run_schemas import RunError
from app.evals.run_sources import Row, Sampling
from app.graders.grading_task import GradingRequest, GradingResult, run_grading_task
from app.graders.runner import list_parts
from app.inference.endpoints import CHAT_COMPLETIONS_PATH, ENDPOINTS
from app.inference.engine_http import read_object
from app.inference.unattended_requests import UnattendedRequests
from app.models.registry import ResolvedModel
from app.work.kinds import ItemPostponed, ItemResult

# A run stores no more; its other items have an error.
MAX_RUN_BYTES = 2**30
MAX_ITEM_BYTES = 4 * 2**20
# Of the CPU-heavy part of an item, each time in another process.
MAX_GRADING_TRIES = 3

Model = ResolvedModel | ApiError


@dataclass(slots=True)
class RangeContext:
    """State shared by the items of a range. A model that is gone is the error of its requests."""

    run_id: str
    project_id: str
    requests: UnattendedRequests
    pool: CpuPool
    criteria: Sequence[TestingCriterion]
    criterion_ids: Sequence[str]
    # Without a name no model is sampled.
    sampling: Sampling | None
    # Of items that no request has been checked for.
    item_schema: dict[str, Any] | None
    model_name: str
    model: Model | None
    judges: Mapping[str, Model]
    encoder: ResolvedModel | None
    stored_bytes: int


@dataclass(slots=True)
class _Outcome:
    """Output of an item so far. `sampled` is kept while the item is tried again."""

    row: Row | None = None
    # By the schema.
    is_checked: bool = False
    sample: Sample = field(default_factory=Sample)
    variables: dict[str, Any] | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    answers: Answers = field(default_factory=lambda: Answers(Counter()))
    tries: int = 0


class EvalRange:
    """The items of one range: a `RangeWork`."""

    def __init__(self, context: RangeContext, lines: Mapping[int, bytes | None]) -> None:
        self._context = context
        self._lines = lines
        # What was sampled and graded of items that are tried again: nothing is asked twice.
        self._outcomes: dict[int, _Outcome] = {}
        # One item is checked at a time: after the first that shows that the schema cannot be used,
        # the others take no time.
        self._checking = asyncio.Lock()
        self._schema_fault: SchemaFault | None = None

    @property
    def indexes(self) -> Sequence[int]:
        return list(self._lines)

    async def run(self, index: int, tries: int) -> ItemResult:
        """Sample and grade one item. Raises ItemPostponed."""
        outcome = self._outcomes.setdefault(index, _Outcome())
        fault: RunError | None = None
        try:
            await self._evaluate(index, outcome)
        except ItemFault as error:
            fault = error.error
        del self._outcomes[index]
        return self._build_result(index, outcome, fault)

    async def _evaluate(self, index: int, outcome: _Outcome) -> None:
        if self._context.stored_bytes > MAX_RUN_BYTES:
            raise ItemFault(
                "run_too_large",
                f"This run has stored {MAX_RUN_BYTES:,} bytes; split its items into several.",
            )
        outcome.row = row = items.parse_row(self._lines[index])
        if outcome.variables is None:
            await self._check_item(row, outcome)
            await self._sample(index, row, outcome)
        graded = await self._grade(row, outcome)
        # Judges are asked in order; those that have answered are not asked again.
        for number in range(len(outcome.results), len(self._context.criteria)):
            criterion = CriterionRun(self._context, index, number, outcome.answers)
            outcome.results.append(await criterion.judge(graded))

    async def _check_item(self, row: Row, outcome: _Outcome) -> None:
        """Check an item by the schema, once. Raises ItemFault and ItemPostponed."""
        if not self._context.item_schema or outcome.is_checked:
            return
        async with self._checking:
            fault = self._schema_fault
            if fault is None:
                fault = await self._find_fault(self._context.item_schema, row, outcome)
            if fault is not None and fault.index is None:
                self._schema_fault = fault
                raise ItemFault("invalid_item", describe_schema_fault(fault))
        if fault is not None:
            place = f"item{format_path(fault.path)}"
            reason = f"Invalid '{place}': {fault.message}. It must match the eval's 'item_schema'."
            raise ItemFault("invalid_item", reason)
        outcome.is_checked = True

    async def _find_fault(
        self, schema: dict[str, Any], row: Row, outcome: _Outcome
    ) -> SchemaFault | None:
        payload = SchemaTask(schema_=schema, items=[row.item]).model_dump_json().encode()
        try:
            reply = await self._run_task(
                run_schema_task, payload, outcome, "The item's schema", CHECK_TIMEOUT_SECONDS
            )
        except TaskTimeout:
            return SchemaFault(message=TOO_SLOW)
        return SchemaResult.model_validate_json(reply).fault

    async def _sample(self, index: int, row: Row, outcome: _Outcome) -> None:
        sampling, model = self._context.sampling, self._context.model
        if sampling is None or model is None:
            outcome.variables = items.describe_given(row.sample, outcome.sample)
            return
        sample = outcome.sample
        params = sampling.params
        sample.temperature, sample.top_p, sample.seed = (
            params.temperature,
            params.top_p,
            params.seed,
        )
        sample.model = self._context.model_name
        if not isinstance(model, ApiError):
            default = model.base.max_completion_tokens
            sample.max_completion_tokens = params.max_completion_tokens or default
        body = items.build_body(sampling, sample.model, row)
        sample.input = items.describe_messages(body["messages"])
        answer = await self._context.requests.answer(
            (self._context.run_id, index),
            model,
            ENDPOINTS[CHAT_COMPLETIONS_PATH],
            body,
            ids.request_id(),
        )
        document = read_object(answer.body) or {}
        if answer.status >= 400:
            raise ItemFault(*_read_error(document))
        try:
            outcome.variables = items.describe_answer(sample, document)
        except (KeyError, IndexError, TypeError) as error:
            reason = "The model's engine gave an unreadable response."
            raise ItemFault("server_error", reason) from error
        if not isinstance(model, ApiError):
            usage = sample.usage
            counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
            outcome.answers.used.update(count_usage(UsageKind.COMPLETIONS, model.name, *counts))

    async def _grade(self, row: Row, outcome: _Outcome) -> GradingResult:
        parts = {
            f"{number}.{key}": part
            for number, criterion in enumerate(self._context.criteria)
            for key, part in list_parts(criterion).items()
        }
        request = GradingRequest.model_construct(
            graders=parts, sample=outcome.variables or {}, item=row.item
        )
        payload = request.model_dump_json().encode()
        try:
            reply = await self._run_task(run_grading_task, payload, outcome, "The criteria")
        except TaskTimeout as error:
            raise ItemFault("grading_failed", "The criteria took too much time.") from error
        result = GradingResult.model_validate_json(reply)
        if result.limit_error is not None:
            message = f"The criteria cannot be computed: {result.limit_error}."
            raise ItemFault("string_above_max_length", message)
        return result

    async def _run_task(
        self,
        task: Task,
        payload: bytes,
        outcome: _Outcome,
        subject: str,
        timeout_seconds: float = TASK_TIMEOUT_SECONDS,
    ) -> bytes:
        """Run a task of the CPU pool.

        Raises TaskTimeout, ItemPostponed if it should be tried again, and otherwise ItemFault.
        """
        try:
            return await self._context.pool.call(
                self._context.project_id, task, payload, timeout_seconds=timeout_seconds
            )
        except TaskTimeout:
            raise
        except TaskCrashed as error:
            reason = f"{subject} could not be computed."
            raise ItemFault("grading_failed", reason) from error
        except CpuPoolError as error:
            outcome.tries += not isinstance(error, PoolOverloaded)
            if outcome.tries >= MAX_GRADING_TRIES:
                reason = f"{subject} took too much memory."
                raise ItemFault("grading_failed", reason) from error
            raise ItemPostponed from error

    def _build_result(self, index: int, outcome: _Outcome, fault: RunError | None) -> ItemResult:
        if fault is not None:
            outcome.sample.error = fault
        status = _find_status(outcome, fault)
        body = _dump(outcome, status)
        if len(body) > MAX_ITEM_BYTES:
            reason = f"The item and its results have more than {MAX_ITEM_BYTES:,} bytes."
            fault = RunError(code="item_too_large", message=reason)
            outcome = _Outcome(sample=Sample(error=fault), answers=outcome.answers)
            status = OutputItemStatus.ERROR
            body = _dump(outcome, status)
        sums = Counter(outcome.answers.used)
        sums[totals.item_key(status)] += 1
        sums[totals.BYTES] += len(body)
        for number, result in enumerate(outcome.results):
            sums[totals.criterion_key(number, _find_result_status(result))] += 1
        return ItemResult(index, status is OutputItemStatus.PASS, body, sums)


def _find_status(outcome: _Outcome, fault: RunError | None) -> OutputItemStatus:
    if fault is not None:
        return OutputItemStatus.ERROR
    statuses = {_find_result_status(result) for result in outcome.results}
    order = (OutputItemStatus.ERROR, OutputItemStatus.FAIL)
    return next((status for status in order if status in statuses), OutputItemStatus.PASS)


def _find_result_status(result: Mapping[str, Any]) -> OutputItemStatus:
    if "error" in result:
        return OutputItemStatus.ERROR
    return OutputItemStatus.PASS if result["passed"] else OutputItemStatus.FAIL


def _read_error(document: Mapping[str, Any]) -> tuple[str, str]:
    error = document.get("error")
    error = error if isinstance(error, dict) else {}
    code = error.get("code") or error.get("type") or "server_error"
    return str(code), str(error.get("message") or "The model's engine gave an unreadable response.")


def _dump(outcome: _Outcome, status: OutputItemStatus) -> bytes:
    return orjson.dumps(
        {
            "status": status,
            "item": {} if outcome.row is None else outcome.row.item,
            "results": outcome.results,
            "sample": outcome.sample.model_dump(),
        }
    )
