"""From a method's files to its rows and objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.formats import FaultyFile
from app.formats.embedding import Likeness
from worker.encoding.tags import tag_names
from worker.encoding.task import Method, Task
from worker.encoding.tokenizer import Reader
from worker.training.encoders import (
    classification,
    embedding,
    question_answering,
    similarity,
    token_classification,
)
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import TaskObjective
from worker.training.errors import user_error

Examples = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a micro-batch may hold: tokens with their filling, and rows if that is limited."""

    max_tokens: int
    max_rows: int | None


@dataclass(frozen=True, slots=True)
class Data:
    """Examples of a file and their rows."""

    examples: Examples
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True)
class MethodParts:
    """What a method is made of. `objective` gets the training and the validation file's data."""

    read: Callable[[Path], Examples]
    task_of: Callable[[Any, int], Task]
    rows_of: Callable[[Any, Task, Reader], Sequence[Any]]
    objective: Callable[[Encoder, Data, Data | None, Limits, bool], TaskObjective[Any]]


def read(method: Method, path: Path, *, param: str) -> Examples:
    """The examples of a file. Raises a user error for a file of another format."""
    try:
        return METHODS[method].read(path)
    except FaultyFile as error:
        raise user_error(f"invalid_{param}", str(error), param) from error


def outputs(task: Task) -> int:
    """How many numbers the head gives."""
    if task.method == "token_classification":
        return len(tag_names(task.labels))
    return max(1, len(task.labels))


def _classification(
    encoder: Encoder, train: Data, valid: Data | None, limits: Limits, balanced: bool
) -> TaskObjective[Any]:
    weights = classification.balanced_weights(train.examples, encoder.task) if balanced else None
    return classification.Classification(
        encoder, max_tokens=limits.max_tokens, max_rows=limits.max_rows, weights=weights
    )


def _token_classification(
    encoder: Encoder, train: Data, valid: Data | None, limits: Limits, balanced: bool
) -> TaskObjective[Any]:
    weights = token_classification.balanced_weights(train.rows, encoder.task) if balanced else None
    token_classification.start_at_shares(encoder, train.rows)
    return token_classification.TokenClassification(
        encoder,
        valid.examples if valid else (),
        max_tokens=limits.max_tokens,
        max_rows=limits.max_rows,
        weights=weights,
    )


def _question_answering(
    encoder: Encoder, train: Data, valid: Data | None, limits: Limits, balanced: bool
) -> TaskObjective[Any]:
    examples = valid.examples if valid else ()
    return question_answering.QuestionAnswering(
        encoder, examples, max_tokens=limits.max_tokens, max_rows=limits.max_rows
    )


def _embedding(
    encoder: Encoder, train: Data, valid: Data | None, limits: Limits, balanced: bool
) -> TaskObjective[Any]:
    scored = isinstance(train.examples[0], Likeness)
    if valid is not None and isinstance(valid.examples[0], Likeness) != scored:
        message = "One of both files has scores and the other has not; write them in one way."
        raise user_error("invalid_validation_file", message, "validation_file")
    if not scored:
        _require_measurable(valid)
        return embedding.Embedding(encoder, max_tokens=limits.max_tokens, max_rows=limits.max_rows)
    _require_order(train, "training_file")
    if valid is not None:
        _require_order(valid, "validation_file")
    return similarity.Similarity(encoder, max_tokens=limits.max_tokens, max_rows=limits.max_rows)


def _require_order(data: Data, param: str) -> None:
    if len({one.score for one in data.examples}) < 2:
        role = param.replace("_", " ")
        message = f"All examples of the {role} have the same score: it orders nothing."
        raise user_error(f"invalid_{param}", message, param)


def _require_measurable(valid: Data | None) -> None:
    """Without a measure neither the best pass is known nor when to stop."""
    if valid is None or embedding.can_be_measured(valid.rows):
        return
    message = (
        "No text of the validation file has another, different one of its meaning in the file: "
        "there is nothing to find. Give it such texts, or leave the file out."
    )
    raise user_error("invalid_validation_file", message, "validation_file")


def _embedding_rows(examples: Examples, task: Task, reader: Reader) -> Sequence[Any]:
    if isinstance(examples[0], Likeness):
        return similarity.rows_of(examples, reader)
    return embedding.rows_of(examples, task, reader)


METHODS: dict[Method, MethodParts] = {
    "classification": MethodParts(
        classification.read_examples,
        classification.task_of,
        classification.rows_of,
        _classification,
    ),
    "token_classification": MethodParts(
        token_classification.read_examples,
        token_classification.task_of,
        token_classification.rows_of,
        _token_classification,
    ),
    "question_answering": MethodParts(
        question_answering.read_examples,
        question_answering.task_of,
        question_answering.rows_of,
        _question_answering,
    ),
    "embedding": MethodParts(
        embedding.read_examples, embedding.task_of, _embedding_rows, _embedding
    ),
}
