"""Registry of the encoder methods' rows: how each reads examples and tokenizes them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.formats import FormatName, embedding, iter_examples
from app.formats import classification as labelled
from app.formats import question_answering as questions
from app.formats import token_classification as annotated
from worker.encoding.rows import (
    classification,
    question_answering,
    token_classification,
)
from worker.encoding.rows import embedding as pairs
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import EncoderTokenizer

Examples = Sequence[Any]


@dataclass(frozen=True, slots=True)
class RowMethod:
    """Functions that make a method's rows.

    `converters` convert a row of a file, by its format; `make_examples` makes the method's examples
    of them, and raises InvalidTrainingFile if there are none.
    """

    converters: Mapping[FormatName, Callable[[dict[str, Any]], Any]]
    make_examples: Callable[[Iterable[Any]], Examples]
    infer_task: Callable[[Any, int, EncoderTokenizer], EncoderTask]
    build_rows: Callable[[Any, EncoderTask, EncoderTokenizer], Sequence[Any]]

    def read_examples(self, path: Path) -> Examples:
        """Read the examples of a file. Raises InvalidTrainingFile."""
        return self.make_examples(iter_examples(path, self.converters))


ROW_METHODS: Mapping[Method, RowMethod] = {
    "classification": RowMethod(
        {FormatName.CLASSIFICATION: labelled.to_example},
        list,
        classification.infer_task,
        classification.build_rows,
    ),
    "token_classification": RowMethod(
        {FormatName.TOKEN_CLASSIFICATION: annotated.to_example},
        list,
        token_classification.infer_task,
        token_classification.build_rows,
    ),
    "question_answering": RowMethod(
        {FormatName.QUESTION_ANSWERING: questions.to_example},
        list,
        question_answering.infer_task,
        question_answering.build_rows,
    ),
    "embedding": RowMethod(
        {
            FormatName.EMBEDDING: embedding.to_example,
            FormatName.CLASSIFICATION: labelled.to_example,
        },
        pairs.make_examples,
        pairs.infer_task,
        pairs.build_rows,
    ),
}
