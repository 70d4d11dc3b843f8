"""Runs a grader on a sample."""

import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import fuzz

from app.graders.formula import FormulaError, evaluate
from app.graders.templates import UnknownVariable, namespaces, render
from app.schemas.graders import (
    Grader,
    GraderErrors,
    GraderMetadata,
    GraderRun,
    ModelMessage,
    Multi,
    ScoreModel,
    StringCheck,
    TextSimilarity,
)

CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
SHAPE = (
    'Answer with a JSON object and nothing else: {"steps": [{"description": "…", "conclusion": '
    '"…"}], "result": a number from %s to %s}.'
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judging model wrote, and the tokens that it took."""

    text: str
    tokens: int


class JudgeUnavailable(RuntimeError):
    """The judging model gave no answer; the message may be shown to the client."""


# Asks the grader's model; raises JudgeUnavailable.
Ask = Callable[[ScoreModel, list[ModelMessage]], Awaitable[Judgement]]


@dataclass(slots=True)
class _Run:
    names: Mapping[str, Any]
    ask: Ask
    errors: GraderErrors = field(default_factory=GraderErrors)
    scores: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


async def run(grader: Grader, sample: str, item: Mapping[str, Any], ask: Ask) -> GraderRun:
    """The reward of `sample`: 0 with the reason among the errors, if it cannot be graded."""
    started = time.monotonic()
    state = _Run(namespaces(sample, item), ask)
    subs: dict[str, float] = {}
    if isinstance(grader, Multi):
        for key, part in grader.graders.items():
            subs[key] = await _reward(part, state)
        reward = _combined(grader, subs, state)
    else:
        reward = await _reward(grader, state)
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
        sub_rewards=subs,
        model_grader_token_usage_per_model=state.tokens,
    )


async def _reward(grader: Any, state: _Run) -> float:
    try:
        if isinstance(grader, ScoreModel):
            return await _judged(grader, state)
        return _compared(grader, state.names)
    except UnknownVariable:
        state.errors.invalid_variable_error = True
        return 0.0


def _compared(grader: StringCheck | TextSimilarity, names: Mapping[str, Any]) -> float:
    text, reference = render(grader.input, names), render(grader.reference, names)
    if isinstance(grader, StringCheck):
        return float(CHECKS[grader.operation](text, reference))
    # The normalised indel similarity, of 100.
    return float(fuzz.ratio(text, reference)) / 100


async def _judged(grader: ScoreModel, state: _Run) -> float:
    low, high = grader.range
    messages = [
        ModelMessage(role=message.role, content=render(message.content, state.names))
        for message in grader.input
    ]
    messages.append(ModelMessage(role="user", content=SHAPE % (low, high)))
    try:
        judgement = await state.ask(grader, messages)
    except JudgeUnavailable as error:
        state.errors.model_grader_server_error = True
        state.errors.model_grader_server_error_details = str(error)
        return 0.0
    state.tokens[grader.model] = state.tokens.get(grader.model, 0) + judgement.tokens
    result = _result(judgement.text)
    if result is None:
        state.errors.model_grader_parse_error = True
        return 0.0
    return min(max(result, low), high)


def _result(text: str) -> float | None:
    """The number in a judge's answer; models like to put a fence or a sentence around it."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1])["result"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _combined(grader: Multi, rewards: Mapping[str, float], state: _Run) -> float:
    try:
        return evaluate(grader.calculate_output, rewards)
    except FormulaError:
        state.errors.formula_parse_error = True
        return 0.0
