"""Checks of a new eval's criteria: what could never pass, or always would, is refused.

They are no part of the schemas, by which criteria that are stored already are read.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from app.errors import InvalidRequest
from app.graders.schemas import (
    ClassificationGrader,
    LabelModelGrader,
    MultiGrader,
    ScoreModelGrader,
    TextSimilarityGrader,
    TranslationGrader,
)


def check(criterion: BaseModel, param: str) -> None:
    """Raise InvalidRequest for a threshold outside of the scores, and for duplicate labels."""
    _check_threshold(criterion, f"{param}.pass_threshold")
    for place, grader in _list_parts(criterion, param):
        _check_labels(grader, place)


def _list_parts(criterion: BaseModel, param: str) -> Iterator[tuple[str, BaseModel]]:
    if isinstance(criterion, MultiGrader):
        yield from ((f"{param}.graders.{key}", each) for key, each in criterion.graders.items())
    else:
        yield param, criterion


def _check_threshold(criterion: BaseModel, param: str) -> None:
    threshold: float | None = getattr(criterion, "pass_threshold", None)
    scores = _find_scores(criterion)
    if threshold is None or scores is None:
        return
    low, high = scores
    if not low <= threshold <= high:
        raise InvalidRequest(
            f"Invalid '{param}': the scores of this criterion are from {low:g} to {high:g}; "
            "choose a threshold between them.",
            param=param,
            code="invalid_value",
        )


def _find_scores(criterion: BaseModel) -> tuple[float, float] | None:
    """Find the least and the greatest score; None if a formula has any."""
    if isinstance(criterion, ScoreModelGrader):
        return criterion.range[0], criterion.range[1]
    if isinstance(criterion, TextSimilarityGrader):
        return (-1.0 if criterion.evaluation_metric == "cosine" else 0.0), 1.0
    return (0.0, 1.0) if isinstance(criterion, TranslationGrader) else None


def _check_labels(grader: BaseModel, param: str) -> None:
    if not isinstance(grader, LabelModelGrader | ClassificationGrader):
        return
    for name in ("labels", "passing_labels"):
        labels = getattr(grader, name, None) or ()
        if len(set(labels)) < len(labels):
            raise InvalidRequest(
                f"Invalid '{param}.{name}': a label is there twice; expected distinct labels.",
                param=f"{param}.{name}",
                code="invalid_value",
            )
