"""Extractive QA format, as in SQuAD 2.0: `{"context", "question", "answers"}` with answer spans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.errors import InvalidExample, escape_for_message
from app.formats.fields import check_keys, check_list, check_text
from app.formats.format import ExampleFacts, Format, FormatName

SHAPE_HINT = (
    'Write it as {"context": "…", "question": "…", '
    '"answers": {"text": ["…"], "answer_start": [0]}}; both lists empty if there is no answer.'
)
# The labels under which a summary counts questions.
ANSWERED_LABEL = "answer"
UNANSWERED_LABEL = "no answer"


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """An answer: the text that starts at character `start` of the context, in code points."""

    start: int
    text: str


@dataclass(frozen=True, slots=True)
class QuestionExample:
    """A question about `context`. All `answers` are correct; none means unanswerable."""

    context: str
    question: str
    answers: tuple[AnswerSpan, ...]


def to_example(row: Mapping[str, Any]) -> QuestionExample:
    """Convert a checked row."""
    answers = row["answers"]
    spans = zip(answers["answer_start"], answers["text"], strict=True)
    return QuestionExample(
        row["context"], row["question"], tuple(AnswerSpan(*span) for span in spans)
    )


def check(row: Any) -> None:
    """Raise InvalidExample unless `row` is a question whose answers are at their positions."""
    check_keys(row, ("context", "question", "answers"), ("title",), hint=SHAPE_HINT)
    check_text(row, "context")
    check_text(row, "question")
    answers = row["answers"]
    if not isinstance(answers, dict) or answers.keys() != {"text", "answer_start"}:
        raise InvalidExample(
            ": the fields of answers are not exactly text and answer_start", SHAPE_HINT
        )
    check_list(answers["text"], "text of answers")
    check_list(answers["answer_start"], "answer_start")
    if len(answers["text"]) != len(answers["answer_start"]):
        raise InvalidExample(": text and answer_start differ in length", SHAPE_HINT)
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        _check_answer(row["context"], text, start)


def _check_answer(context: str, text: Any, start: Any) -> None:
    if not isinstance(text, str) or not text.strip() or type(start) is not int or start < 0:
        raise InvalidExample(
            ": an answer is not a text with the number of its first character", SHAPE_HINT
        )
    if context[start : start + len(text)] == text:
        return
    position = context.find(text)
    if position < 0:
        raise InvalidExample(
            f': the answer "{escape_for_message(text)}" is not in the context',
            "Copy the answer from the context, character by character.",
        )
    raise InvalidExample(
        f': the answer "{escape_for_message(text)}" is not at character {start}',
        f"It is at {position}. Count characters from 0, not bytes.",
    )


def extract_facts(row: Mapping[str, Any]) -> ExampleFacts:
    """See Format."""
    texts = row["answers"]["text"]
    return ExampleFacts(
        input=f"{row['context']}\0{row['question']}",
        target="\0".join(sorted(texts)),
        labels=(ANSWERED_LABEL if texts else UNANSWERED_LABEL,),
    )


FORMAT = Format(
    name=FormatName.QUESTION_ANSWERING,
    matches=lambda row: "context" in row or "question" in row,
    check=check,
    extract_facts=extract_facts,
)
