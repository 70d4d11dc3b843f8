"""The encoder methods in training: how each reads its files and builds its objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.formats import InvalidTrainingFile
from app.formats.embedding import ScoredTextPair
from worker.encoding.rows.methods import ROW_METHODS, Examples
from worker.encoding.tags import bio_tag_names
from worker.encoding.task import EncoderTask, Method
from worker.training.encoders import (
    classification,
    embedding,
    question_answering,
    similarity,
    token_classification,
)
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import EncoderObjective
from worker.training.errors import user_error
from worker.training.micro_batch_limits import MicroBatchLimits


@dataclass(frozen=True, slots=True)
class DataSplit:
    """Examples of a file with their tokenized rows.

    `numbers` are those of the examples in the file if some were left out, else none.
    """

    examples: Examples
    rows: Sequence[Any]
    numbers: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class LossOptions:
    """Options of a method's loss."""

    has_balanced_classes: bool = False
    label_smoothing: float = 0.0


def read_examples(method: Method, path: Path, *, param: str) -> Examples:
    """Read the examples of a file. Raises TrainingError if it has another format."""
    try:
        return ROW_METHODS[method].read_examples(path)
    except InvalidTrainingFile as error:
        raise user_error(f"invalid_{param}", str(error), param) from error


def num_outputs(task: EncoderTask) -> int:
    """Count the outputs of the head."""
    if task.method == "token_classification":
        return len(bio_tag_names(task.labels))
    return max(1, len(task.labels))


def _build_classification(
    encoder: Encoder,
    train: DataSplit,
    valid: DataSplit | None,
    limits: MicroBatchLimits,
    options: LossOptions,
) -> EncoderObjective[Any]:
    weights = (
        classification.compute_balanced_class_weights(train.examples, encoder.task)
        if options.has_balanced_classes
        else None
    )
    return classification.ClassificationObjective(
        encoder,
        max_tokens=limits.max_tokens,
        max_rows=limits.max_rows,
        weights=weights,
        label_smoothing=options.label_smoothing,
    )


def _build_token_classification(
    encoder: Encoder,
    train: DataSplit,
    valid: DataSplit | None,
    limits: MicroBatchLimits,
    options: LossOptions,
) -> EncoderObjective[Any]:
    weights = (
        token_classification.compute_balanced_tag_weights(train.rows, encoder.task)
        if options.has_balanced_classes
        else None
    )
    token_classification.init_bias_from_priors(encoder, train.rows)
    return token_classification.TokenClassificationObjective(
        encoder,
        valid.examples if valid else (),
        max_tokens=limits.max_tokens,
        max_rows=limits.max_rows,
        weights=weights,
        label_smoothing=options.label_smoothing,
    )


def _build_question_answering(
    encoder: Encoder,
    train: DataSplit,
    valid: DataSplit | None,
    limits: MicroBatchLimits,
    options: LossOptions,
) -> EncoderObjective[Any]:
    examples = valid.examples if valid else ()
    return question_answering.QuestionAnsweringObjective(
        encoder, examples, max_tokens=limits.max_tokens, max_rows=limits.max_rows
    )


def _build_embedding(
    encoder: Encoder,
    train: DataSplit,
    valid: DataSplit | None,
    limits: MicroBatchLimits,
    options: LossOptions,
) -> EncoderObjective[Any]:
    has_scores = isinstance(train.examples[0], ScoredTextPair)
    if valid is not None and isinstance(valid.examples[0], ScoredTextPair) != has_scores:
        message = "Only one of the two files has scores; use the same format for both."
        raise user_error("invalid_validation_file", message, "validation_file")
    if not has_scores:
        _require_retrieval_targets(valid)
        return embedding.EmbeddingObjective(
            encoder, max_tokens=limits.max_tokens, max_rows=limits.max_rows
        )
    _require_distinct_scores(train, "training_file")
    if valid is not None:
        _require_distinct_scores(valid, "validation_file")
    return similarity.CosentObjective(
        encoder, max_tokens=limits.max_tokens, max_rows=limits.max_rows
    )


def _require_distinct_scores(split: DataSplit, param: str) -> None:
    if len({example.score for example in split.examples}) < 2:
        role = param.replace("_", " ")
        message = f"All examples of the {role} have the same score, so there is no order to learn."
        raise user_error(f"invalid_{param}", message, param)


def _require_retrieval_targets(valid: DataSplit | None) -> None:
    """Raise TrainingError if retrieval, the metric of early stopping, cannot be measured."""
    if valid is None or embedding.has_retrieval_targets(valid.rows):
        return
    message = (
        "No text of the validation file has a different text of the same group in the file, so "
        "there is nothing to retrieve. Add such texts, or leave the file out."
    )
    raise user_error("invalid_validation_file", message, "validation_file")


# Each gets the training data and the validation data.
OBJECTIVE_BUILDERS: dict[
    Method,
    Callable[
        [Encoder, DataSplit, DataSplit | None, MicroBatchLimits, LossOptions],
        EncoderObjective[Any],
    ],
] = {
    "classification": _build_classification,
    "token_classification": _build_token_classification,
    "question_answering": _build_question_answering,
    "embedding": _build_embedding,
}
