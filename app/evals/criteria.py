"""Testing criteria on the wire: graders with a threshold from which an item passes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.graders.schemas import (
    ClassificationGrader,
    LabelModelGrader,
    ModelMessage,
    MultiGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
    TranslationGrader,
)

ROLES = ("user", "assistant", "system", "developer")

Threshold = Annotated[float, Field(allow_inf_nan=False)]


def _normalize_role(value: Any) -> Any:
    """OpenAI's requests take any role, its responses only these: others are read as the user's."""
    return "user" if isinstance(value, str) and value not in ROLES else value


class CriterionMessage(ModelMessage):
    """A message of a judge's prompt. The role may be any text; an unknown one becomes `user`."""

    role: Annotated[
        Literal["user", "assistant", "system", "developer"],
        BeforeValidator(_normalize_role, json_schema_input_type=str),
    ]


class Criterion(BaseModel):
    """Base of the criteria. The `id` of a copied criterion is replaced."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None


class StringCheckCriterion(StringCheckGrader, Criterion):
    """Passes if the operation holds."""


class TextSimilarityCriterion(TextSimilarityGrader, Criterion):
    """Passes from a similarity of `pass_threshold`."""

    pass_threshold: Threshold


class ScoreModelCriterion(ScoreModelGrader, Criterion):
    """Passes from a score of `pass_threshold`, by default the middle of `range`."""

    input: Annotated[list[CriterionMessage], Field(min_length=1, fail_fast=True)]  # type: ignore[assignment]
    pass_threshold: Threshold | None = None


class LabelModelCriterion(LabelModelGrader, Criterion):
    """Passes if the judge chooses one of the passing labels."""

    input: Annotated[list[CriterionMessage], Field(min_length=1, fail_fast=True)]  # type: ignore[assignment]


class PythonCriterion(PythonGrader, Criterion):
    """Refused, as the grader is."""

    pass_threshold: Threshold | None = None


class ClassificationCriterion(ClassificationGrader, Criterion):
    """Passes if the label is right. A run has accuracy and F1; an extension of OpenAI's evals."""


class TranslationCriterion(TranslationGrader, Criterion):
    """Passes from a chrF of `pass_threshold`. A run has BLEU and chrF of all translations
    together; an extension of OpenAI's evals."""

    pass_threshold: Threshold


class MultiCriterion(MultiGrader, Criterion):
    """Passes from `pass_threshold`; an extension of OpenAI's evals, whose graders have it."""

    pass_threshold: Threshold


TestingCriterion = Annotated[
    StringCheckCriterion
    | TextSimilarityCriterion
    | ScoreModelCriterion
    | LabelModelCriterion
    | PythonCriterion
    | ClassificationCriterion
    | TranslationCriterion
    | MultiCriterion,
    Field(discriminator="type"),
]
