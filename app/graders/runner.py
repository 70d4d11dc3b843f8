"""Run a grader on one sample."""

import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import fuzz

from app.graders.formula import FormulaError, evaluate
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
    StringCheckGrader,
    TextSimilarityGrader,
)
from app.graders.template import UnknownVariable, build_variables, render

STRING_OPERATIONS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "neq": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
RESULT_INSTRUCTION = (
    'Answer with a JSON object and nothing else: {"steps": [{"description": "…", "conclusion": '
    '"…"}], "result": %s}.'
)


@dataclass(frozen=True, slots=True)
class JudgeResponse:
    """The text of an LLM judge, and the tokens used (prompt and completion)."""

    text: str
    tokens: int


class JudgeUnavailable(RuntimeError):
    """The judge did not respond; the message may be shown to the client."""


class _InvalidResult(ValueError):
    """The judge's response has no valid result."""


# Sends the messages to the grader's model; raises JudgeUnavailable.
AskJudge = Callable[[ModelGrader, list[ModelMessage]], Awaitable[JudgeResponse]]


@dataclass(slots=True)
class _RunState:
    variables: Mapping[str, Any]
    ask_judge: AskJudge
    errors: GraderErrors = field(default_factory=GraderErrors)
    scores: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


async def run(
    grader: Grader, sample: str, item: Mapping[str, Any], ask_judge: AskJudge
) -> GraderRun:
    """Grade `sample`. If that fails, the reward is 0 and `metadata.errors` has the reason."""
    started = time.monotonic()
    state = _RunState(build_variables(sample, item), ask_judge)
    sub_rewards: dict[str, float] = {}
    if isinstance(grader, MultiGrader):
        for key, sub_grader in grader.graders.items():
            sub_rewards[key] = await _compute_reward(sub_grader, state)
        reward = _combine_rewards(grader, sub_rewards, state)
    else:
        reward = await _compute_reward(grader, state)
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


async def _compute_reward(grader: Any, state: _RunState) -> float:
    try:
        match grader:
            case ScoreModelGrader():
                return await _score_with_judge(grader, state)
            case LabelModelGrader():
                return await _label_with_judge(grader, state)
        return _compare_texts(grader, state.variables)
    except UnknownVariable:
        state.errors.invalid_variable_error = True
    except JudgeUnavailable as error:
        state.errors.model_grader_server_error = True
        state.errors.model_grader_server_error_details = str(error)
    except _InvalidResult:
        state.errors.model_grader_parse_error = True
    return 0.0


def _compare_texts(
    grader: StringCheckGrader | TextSimilarityGrader, variables: Mapping[str, Any]
) -> float:
    text, reference = render(grader.input, variables), render(grader.reference, variables)
    if isinstance(grader, StringCheckGrader):
        return float(STRING_OPERATIONS[grader.operation](text, reference))
    # Normalized indel similarity, in percent.
    return float(fuzz.ratio(text, reference)) / 100


async def _score_with_judge(grader: ScoreModelGrader, state: _RunState) -> float:
    low, high = grader.range
    value = _parse_result(await _query_judge(grader, f"a number from {low} to {high}", state))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise _InvalidResult
    return min(max(float(value), low), high)


async def _label_with_judge(grader: LabelModelGrader, state: _RunState) -> float:
    labels = " or ".join(json.dumps(label, ensure_ascii=False) for label in grader.labels)
    text = await _query_judge(grader, labels, state)
    # A model fine-tuned on labels may answer with the bare label instead of the object.
    label = text.strip() if text.strip() in grader.labels else _parse_result(text)
    if label not in grader.labels:
        raise _InvalidResult
    return float(label in grader.passing_labels)


async def _query_judge(grader: ModelGrader, result: str, state: _RunState) -> str:
    """Ask the grader's model for a result, described by `result`; returns its raw text."""
    messages = [
        ModelMessage(role=message.role, content=render(message.content, state.variables))
        for message in grader.input
    ]
    messages.append(ModelMessage(role="user", content=RESULT_INSTRUCTION % result))
    response = await state.ask_judge(grader, messages)
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
