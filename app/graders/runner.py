"""Run a grader on one sample."""

import json
import math
import operator
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.graders.formula import FormulaError, evaluate
from app.graders.grading_task import GradingRequest, GradingResult, SubResult
from app.graders.schemas import (
    Grader,
    GraderErrors,
    GraderMetadata,
    GraderRun,
    LabelModelGrader,
    ModelGrader,
    ModelMessage,
    MultiGrader,
    ScoreModelGrader,
)

RESULT_INSTRUCTION = (
    'Answer with a JSON object and nothing else: {"steps": [{"description": "…", "conclusion": '
    '"…"}], "result": %s}.'
)


@dataclass(frozen=True, slots=True)
class JudgeResponse:
    """The text of an LLM judge, and the tokens used (prompt and completion)."""

    text: str
    tokens: int
    prompt_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """The vectors of texts, with the encoder's name and the tokens used."""

    model: str
    vectors: Sequence[Sequence[float]]
    tokens: int


class JudgeUnavailable(RuntimeError):
    """The judge did not respond; the message may be shown to the client."""


class _InvalidResult(ValueError):
    """The judge's response has no valid result."""


class GradingLimitExceeded(ValueError):
    """The texts are too long to be graded; the message may be shown to the client."""


# Sends the messages to the grader's model; raises JudgeUnavailable.
AskJudge = Callable[[ModelGrader, list[ModelMessage]], Awaitable[JudgeResponse]]
# Embeds texts; raises JudgeUnavailable.
EmbedTexts = Callable[[Sequence[str]], Awaitable[EmbeddedTexts]]
# Does the CPU-heavy part in another process.
RunGradingTask = Callable[[GradingRequest], Awaitable[GradingResult]]


@dataclass(slots=True)
class _RunState:
    ask_judge: AskJudge
    embed: EmbedTexts
    errors: GraderErrors = field(default_factory=GraderErrors)
    scores: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


async def _no_encoder(_texts: Sequence[str]) -> EmbeddedTexts:
    raise JudgeUnavailable("No encoder is in the catalog, which 'cosine' needs.")


async def run(
    grader: Grader,
    sample: str,
    item: dict[str, Any],
    ask_judge: AskJudge,
    run_grading_task: RunGradingTask,
    embed: EmbedTexts = _no_encoder,
) -> GraderRun:
    """Grade `sample`. If that fails, the reward is 0 and `metadata.errors` has the reason.

    Raises GradingLimitExceeded, before any judge is asked.
    """
    task = GradingRequest.model_construct(graders=list_parts(grader), sample=sample, item=item)
    graded = await run_grading_task(task)
    if graded.limit_error is not None:
        raise GradingLimitExceeded(graded.limit_error)
    return await complete(grader, graded.results, ask_judge, embed)


def list_parts(grader: Grader | LabelModelGrader) -> dict[str, Any]:
    """List the graders of a multi grader by key, or the grader itself."""
    return dict(grader.graders) if isinstance(grader, MultiGrader) else {grader.name: grader}


async def complete(
    grader: Grader | LabelModelGrader,
    results: Mapping[str, SubResult],
    ask_judge: AskJudge,
    embed: EmbedTexts,
) -> GraderRun:
    """Compute the reward from the results of a grading task, which are by the parts' keys."""
    started = time.monotonic()
    state = _RunState(ask_judge, embed)
    rewards = {
        key: await _compute_reward(each, results[key], state)
        for key, each in list_parts(grader).items()
    }
    if isinstance(grader, MultiGrader):
        sub_rewards, reward = rewards, _combine_rewards(grader, rewards, state)
    else:
        sub_rewards, reward = {}, rewards[grader.name]
    state.scores[grader.name] = reward
    return GraderRun(
        reward=reward,
        metadata=GraderMetadata(
            name=grader.name,
            type=grader.type,
            errors=state.errors,
            execution_time=time.monotonic() - started,
            scores=state.scores,
            token_usage=sum(state.tokens.values()) or None,
            sampled_model_name=None,
        ),
        sub_rewards=sub_rewards,
        model_grader_token_usage_per_model=state.tokens,
    )


async def _compute_reward(grader: Any, result: SubResult, state: _RunState) -> float:
    try:
        if result.reward is not None:
            return result.reward
        if result.messages is not None:
            return await _ask_and_parse(grader, result.messages, state)
        if result.texts is not None:
            return await _compare_embeddings(result.texts, state)
        state.errors.invalid_variable_error = True
    except JudgeUnavailable as error:
        state.errors.model_grader_server_error = True
        state.errors.model_grader_server_error_details = str(error)
    except _InvalidResult:
        state.errors.model_grader_parse_error = True
    return 0.0


async def _ask_and_parse(
    grader: ScoreModelGrader | LabelModelGrader, messages: list[ModelMessage], state: _RunState
) -> float:
    if isinstance(grader, ScoreModelGrader):
        return await _score_with_judge(grader, messages, state)
    return await _label_with_judge(grader, messages, state)


async def _compare_embeddings(texts: tuple[str, str], state: _RunState) -> float:
    """Cosine similarity; an encoder takes no empty text, which is similar only to another one."""
    if not all(texts):
        return float(texts[0] == texts[1])
    embedded = await state.embed(texts)
    state.tokens[embedded.model] = state.tokens.get(embedded.model, 0) + embedded.tokens
    first, second = embedded.vectors
    length = math.hypot(*first) * math.hypot(*second)
    return sum(map(operator.mul, first, second)) / length if length else 0.0


async def _score_with_judge(
    grader: ScoreModelGrader, messages: list[ModelMessage], state: _RunState
) -> float:
    low, high = grader.range
    instruction = f"a number from {low} to {high}"
    value = _parse_result(await _query_judge(grader, messages, instruction, state))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise _InvalidResult
    return min(max(float(value), low), high)


async def _label_with_judge(
    grader: LabelModelGrader, messages: list[ModelMessage], state: _RunState
) -> float:
    labels = " or ".join(json.dumps(label, ensure_ascii=False) for label in grader.labels)
    text = await _query_judge(grader, messages, labels, state)
    # A model fine-tuned on labels may answer with the bare label instead of the object.
    label = text.strip() if text.strip() in grader.labels else _parse_result(text)
    if label not in grader.labels:
        raise _InvalidResult
    return float(label in grader.passing_labels)


async def _query_judge(
    grader: ModelGrader, messages: list[ModelMessage], result: str, state: _RunState
) -> str:
    """Ask the grader's model for a result, described by `result`; returns its raw text."""
    instruction = ModelMessage(role="user", content=RESULT_INSTRUCTION % result)
    response = await state.ask_judge(grader, [*messages, instruction])
    state.tokens[grader.model] = state.tokens.get(grader.model, 0) + response.tokens
    return response.text


def _parse_result(text: str) -> Any:
    """Parse a judge's result; models often put a code fence or a sentence around the JSON."""
    start, end = text.find("{"), text.rfind("}")
    try:
        # Integers as floats: one that is too large becomes infinite instead of failing later.
        return json.loads(text[start : end + 1], parse_int=float)["result"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _InvalidResult from error


def _combine_rewards(grader: MultiGrader, rewards: Mapping[str, float], state: _RunState) -> float:
    try:
        return evaluate(grader.calculate_output, rewards)
    except FormulaError as error:
        state.errors.formula_parse_error = True
        state.errors.formula_parse_error_details = str(error)
        return 0.0
