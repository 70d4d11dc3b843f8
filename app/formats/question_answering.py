"""Questions on texts, as in SQuAD: `{"context", "question", "answers"}`; an answer is a span."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.formats.errors import Flaw, shown
from app.formats.fields import check_keys, check_list, check_text
from app.formats.format import Facts, Format

SHAPE = (
    'Write it as {"context": "…", "question": "…", '
    '"answers": {"text": ["…"], "answer_start": [0]}}; both lists empty if there is no answer.'
)


# What a summary counts questions as.
ANSWERED = "answer"


@dataclass(frozen=True, slots=True)
class Span:
    """An answer: the text that starts at character `start` of the context, in code points."""

    start: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question on `context`. `answers` are all right; none means that it has no answer there."""

    context: str
    question: str
    answers: tuple[Span, ...]


def example(row: Mapping[str, Any]) -> Question:
    """A checked row as an example."""
    answers = row["answers"]
    spans = zip(answers["answer_start"], answers["text"], strict=True)
    return Question(row["context"], row["question"], tuple(Span(*span) for span in spans))


def check(row: Any) -> None:
    """Raises Flaw unless `row` is a question whose answers stand where they say."""
    check_keys(row, ("context", "question", "answers"), ("title",), shape=SHAPE)
    check_text(row, "context")
    check_text(row, "question")
    answers = row["answers"]
    if not isinstance(answers, dict) or answers.keys() != {"text", "answer_start"}:
        raise Flaw(": answers has other fields than text and answer_start", SHAPE)
    check_list(answers["text"], "text of answers")
    check_list(answers["answer_start"], "answer_start")
    if len(answers["text"]) != len(answers["answer_start"]):
        raise Flaw(" has not as many texts of answers as starts", SHAPE)
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        _check_answer(row["context"], text, start)


def _check_answer(context: str, text: Any, start: Any) -> None:
    if not isinstance(text, str) or not text.strip() or type(start) is not int or start < 0:
        raise Flaw(": an answer is no text with the number of its first character", SHAPE)
    if context[start : start + len(text)] == text:
        return
    found = context.find(text)
    if found < 0:
        raise Flaw(
            f': the answer "{shown(text)}" is not in the context',
            "An answer is copied from the context letter by letter.",
        )
    raise Flaw(
        f': the answer "{shown(text)}" is not at character {start}',
        f"It is at {found}. Count characters from 0, not bytes.",
    )


def facts(row: Mapping[str, Any]) -> Facts:
    """See Format."""
    texts = row["answers"]["text"]
    return Facts(
        question=f"{row['context']}\0{row['question']}",
        answer="\0".join(sorted(texts)),
        labels=(ANSWERED if texts else "no answer",),
    )


FORMAT = Format(
    name="question_answering",
    claims=lambda row: "context" in row or "question" in row,
    check=check,
    facts=facts,
)
