"""One testing criterion of one item: judges are asked, and the result is described."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from app import ids
from app.db.tables import UsageKind
from app.errors import ApiError
from app.evals import totals
from app.evals.criteria import TestingCriterion
from app.evals.run_schemas import RunError
from app.evals.totals import Used
from app.graders.grading_task import GradingResult
from app.graders.model_calls import ModelCalls
from app.graders.runner import EmbeddedTexts, JudgeResponse, JudgeUnavailable, complete
from app.graders.schemas import GraderErrors, ModelGrader, ModelMessage, ScoreModelGrader
from app.inference.endpoints import ENDPOINTS
from app.inference.unattended_requests import UnattendedRequests
from app.models.registry import ResolvedModel

Kept = TypeVar("Kept", JudgeResponse, EmbeddedTexts)


class JudgingContext(Protocol):
    """State shared by the criteria of a run. A judge that is gone is the error of its requests."""

    run_id: str
    requests: UnattendedRequests
    criteria: Sequence[TestingCriterion]
    criterion_ids: Sequence[str]
    judges: Mapping[str, ResolvedModel | ApiError]
    encoder: ResolvedModel | None


@dataclass(slots=True)
class Answers:
    """Answers of the models of an item's criteria, kept while the item is tried again,
    and their usage."""

    used: Counter[str]
    # By the numbers of the criterion and of the call in it.
    by_call: dict[tuple[int, int], Any] = field(default_factory=dict)


@dataclass(slots=True)
class CriterionRun:
    """One criterion of one item, with what its judges were asked and have answered."""

    context: JudgingContext
    index: int
    number: int
    answers: Answers
    asked: list[dict[str, Any]] = field(default_factory=list)
    # Judges are asked in the same order each time, so a call is known by its number.
    calls: int = 0

    async def judge(self, graded: GradingResult) -> dict[str, Any]:
        """Compute the result. Raises ItemPostponed."""
        criterion = self.context.criteria[self.number]
        prefix = f"{self.number}."
        results = {
            key.removeprefix(prefix): result
            for key, result in graded.results.items()
            if key.startswith(prefix)
        }
        run = await complete(criterion, results, self._ask_judge, self._embed)
        error = _describe_errors(run.metadata.errors, results)
        details = [each.details for each in results.values() if each.details is not None]
        result = {
            "name": self.context.criterion_ids[self.number],
            "type": criterion.type,
            "score": run.reward,
            "passed": error is None and run.reward >= find_threshold(criterion),
            "sample": self._describe(details),
        }
        return result if error is None else result | {"error": error.model_dump()}

    def _describe(self, details: list[dict[str, Any]]) -> dict[str, Any] | None:
        if self.asked:
            return self.asked[0] if len(self.asked) == 1 else {"judges": self.asked}
        return details[0] if details else None

    async def _ask_judge(self, grader: ModelGrader, messages: list[ModelMessage]) -> JudgeResponse:
        async def ask() -> JudgeResponse:
            model = self._find_judge(grader.model)
            response = await ModelCalls(self._send, {grader.model: model}).ask_judge(
                grader, messages
            )
            completion = response.tokens - response.prompt_tokens
            counts = (response.prompt_tokens, completion, response.cached_tokens)
            self.answers.used.update(count_usage(UsageKind.COMPLETIONS, model.name, *counts))
            return response

        response = await self._keep(ask)
        self.asked.append(
            {
                "model": grader.model,
                "input": [message.model_dump() for message in messages],
                "output": [{"role": "assistant", "content": response.text}],
            }
        )
        return response

    async def _embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        async def embed() -> EmbeddedTexts:
            embedded = await ModelCalls(self._send, {}, self.context.encoder).embed(texts)
            counts = (embedded.tokens, 0, 0)
            self.answers.used.update(count_usage(UsageKind.EMBEDDINGS, embedded.model, *counts))
            return embedded

        return await self._keep(embed)

    async def _keep(self, call: Callable[[], Awaitable[Kept]]) -> Kept:
        """Call, unless this call has been answered in an earlier try of the item."""
        key = (self.number, self.calls)
        self.calls += 1
        if key not in self.answers.by_call:
            self.answers.by_call[key] = await call()
        answer: Kept = self.answers.by_call[key]
        return answer

    def _find_judge(self, name: str) -> ResolvedModel:
        model = self.context.judges[name]
        if isinstance(model, ApiError):
            raise JudgeUnavailable(model.message)
        return model

    async def _send(
        self, model: ResolvedModel, path: str, body: dict[str, Any]
    ) -> tuple[int, bytes]:
        key = (self.context.run_id, self.index, self.number, self.calls)
        answer = await self.context.requests.answer(
            key, model, ENDPOINTS[path], body, ids.request_id()
        )
        return answer.status, answer.body


def find_threshold(criterion: TestingCriterion) -> float:
    """Find the score from which an item passes."""
    threshold: float | None = getattr(criterion, "pass_threshold", None)
    if threshold is not None:
        return threshold
    if isinstance(criterion, ScoreModelGrader):
        return (criterion.range[0] + criterion.range[1]) / 2
    return 1.0


def count_usage(
    kind: UsageKind, model: str, prompt: int, completion: int, cached: int
) -> dict[str, int]:
    return {
        totals.usage_key(Used.INVOCATIONS, kind, model): 1,
        totals.usage_key(Used.PROMPT, kind, model): prompt,
        totals.usage_key(Used.COMPLETION, kind, model): completion,
        totals.usage_key(Used.CACHED, kind, model): cached,
    }


def _describe_errors(errors: GraderErrors, results: Mapping[str, Any]) -> RunError | None:
    if errors.invalid_variable_error:
        names = [each.unknown_variable for each in results.values() if each.unknown_variable]
        return RunError(
            code="invalid_variable", message=f"This item has no variable '{', '.join(names)}'."
        )
    if errors.model_grader_server_error:
        message = errors.model_grader_server_error_details or "The judge gave no answer."
        return RunError(code="model_error", message=message)
    if errors.model_grader_parse_error:
        return RunError(code="invalid_judgement", message="The judge's answer has no valid result.")
    if errors.formula_parse_error:
        message = f"The formula has no value: {errors.formula_parse_error_details}."
        return RunError(code="invalid_formula", message=message)
    return None
