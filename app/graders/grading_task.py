"""The CPU-heavy part of a grader run, for another process: templates are rendered and texts are
compared. Its request and result are JSON.

All of it is bounded in advance: what is rendered by its characters, comparisons by their pairs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from app.graders import corpus_metrics
from app.graders.schemas import (
    ClassificationGrader,
    ModelGrader,
    ModelMessage,
    StringCheckGrader,
    SubGrader,
    TextSimilarityGrader,
    TranslationGrader,
)
from app.graders.template import RenderedTooLong, Renderer, UnknownVariable, build_variables
from app.graders.text_metrics import METRICS, PAIRWISE_METRICS

# Of all templates of a run together. A request has at most a mebibyte.
MAX_RENDERED_CHARS = 2**20
# Pairs of characters that the similarity of two texts may need to compare, as two texts of 32,768
# characters do; of all comparisons of a run together. They take 0.2 s.
MAX_COMPARED_PAIRS = 2**30
MAX_QUOTED_CHARS = 100

STRING_OPERATIONS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "neq": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


class GradingRequest(BaseModel):
    """Graders by key, of any type but `multi`, and what they grade."""

    graders: dict[str, SubGrader]
    # A text, or the variables of the namespace `sample`.
    sample: str | dict[str, Any]
    item: dict[str, Any] = Field(default_factory=dict)


class SubResult(BaseModel):
    """The reward, or what a model is asked for it: messages to a judge, or two texts to embed.

    None of them, if a template has an unknown variable. `details` are for the metrics of a corpus.
    """

    reward: float | None = None
    messages: list[ModelMessage] | None = None
    texts: tuple[str, str] | None = None
    unknown_variable: str | None = None
    details: dict[str, Any] | None = None


class GradingResult(BaseModel):
    """The results by the graders' keys. With a `limit_error`, there are none."""

    results: dict[str, SubResult] = Field(default_factory=dict)
    limit_error: str | None = None


class _LimitExceeded(ValueError):
    """The texts are too long to be compared."""


@dataclass(slots=True)
class _Run:
    renderer: Renderer
    remaining_pairs: int


def run_grading_task(payload: bytes) -> bytes:
    """Task of the CPU pool: a GradingRequest to a GradingResult, both as JSON."""
    try:
        result = grade(GradingRequest.model_validate_json(payload))
    finally:
        corpus_metrics.forget_texts()
    return result.model_dump_json().encode()


def grade(request: GradingRequest) -> GradingResult:
    """Render and compare all texts, up to the limits."""
    variables = build_variables(request.sample, request.item)
    run = _Run(Renderer(variables, MAX_RENDERED_CHARS), MAX_COMPARED_PAIRS)
    try:
        results = {key: _grade_one(grader, run) for key, grader in request.graders.items()}
    except RenderedTooLong:
        reason = f"its rendered templates have more than {MAX_RENDERED_CHARS:,} characters together"
        return GradingResult(limit_error=reason)
    except _LimitExceeded as error:
        return GradingResult(limit_error=str(error))
    return GradingResult(results=results)


def _grade_one(grader: Any, run: _Run) -> SubResult:
    try:
        if isinstance(grader, ModelGrader):
            return SubResult(messages=_render_messages(grader, run.renderer))
        text, reference = run.renderer.render(grader.input), run.renderer.render(grader.reference)
    except UnknownVariable as error:
        return SubResult(unknown_variable=str(error)[:MAX_QUOTED_CHARS])
    return _compare_texts(grader, text, reference, run)


def _render_messages(grader: ModelGrader, renderer: Renderer) -> list[ModelMessage]:
    return [
        ModelMessage(role=message.role, content=renderer.render(message.content))
        for message in grader.input
    ]


def _compare_texts(grader: Any, text: str, reference: str, run: _Run) -> SubResult:
    match grader:
        case StringCheckGrader():
            return SubResult(reward=STRING_OPERATIONS[grader.operation](text, reference))
        case TextSimilarityGrader(evaluation_metric="cosine"):
            return SubResult(texts=(text, reference))
        case TextSimilarityGrader():
            return SubResult(reward=_measure(grader.evaluation_metric, text, reference, run))
        case ClassificationGrader():
            labels = corpus_metrics.compare_labels(text, reference, grader.labels)
            return SubResult(reward=labels["predicted"] == labels["expected"], details=labels)
        case TranslationGrader():
            _take_pairs(run, text, reference)
            reward, statistics = corpus_metrics.compare_translations(text, reference)
            return SubResult(reward=reward, details=statistics)
    raise TypeError(f"{grader.type} compares no texts")


def _measure(metric: str, text: str, reference: str, run: _Run) -> float:
    if metric in PAIRWISE_METRICS:
        _take_pairs(run, text, reference)
    return METRICS[metric](text, reference)


def _take_pairs(run: _Run, text: str, reference: str) -> None:
    """Raises _LimitExceeded."""
    run.remaining_pairs -= len(text) * len(reference)
    if run.remaining_pairs < 0:
        slow = ", ".join(sorted(PAIRWISE_METRICS))
        raise _LimitExceeded(
            f"a request compares at most {MAX_COMPARED_PAIRS:,} pairs of characters by {slow} and "
            "'translation', as two texts of 32,768 characters have"
        )
