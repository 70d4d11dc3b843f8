"""Where in a context the answer to a question stands, or that it does not."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats import read_as
from app.formats.question_answering import Question, example
from app.formats.word_boundaries import Span
from worker.encoding.answer_spans import STRIDE, allowed, best, place, trimmed
from worker.encoding.task import Task
from worker.encoding.tokenizer import Reader, Text
from worker.training.encoders import metrics
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import Batches, Report, listed
from worker.training.encoders.rows import Array, Row
from worker.training.objectives import Score

# Characters of an answer in the list of those that went wrong.
LONGEST_SHOWN = 200


def read_examples(path: Path) -> list[Question]:
    """Raises FaultyFile."""
    return list(read_as(path, {"question_answering": example}))


def task_of(examples: Sequence[Question], length: int) -> Task:
    """`many` says that a question may have no answer."""
    unanswered = any(not one.answers for one in examples)
    labels = ("start", "end")
    return Task(method="question_answering", labels=labels, many=unanswered, length=length)


def rows_of(examples: Sequence[Question], task: Task, reader: Reader) -> list[Row]:
    """A row for each window. Targets [2]: the tokens of start and end; 0 where none is there."""
    rows = []
    contexts: dict[str, int] = {}
    for source, one in enumerate(examples):
        stride = min(STRIDE, reader.length // 4)
        origin = contexts.setdefault(one.context, len(contexts))
        for window in reader.windows(one.question, one.context, stride=stride):
            target = np.array(_target(window, one), dtype=np.int64)
            rows.append(Row(window, target, source, origin))
    return rows


def _target(window: Text, one: Question) -> tuple[int, int]:
    if not one.answers:
        return 0, 0
    return place(window, *answer_of(one))


def answer_of(one: Question) -> Span:
    """The characters of the answer that is learned, the first."""
    first = one.answers[0]
    return trimmed(one.context, first.start, first.start + len(first.text))


class QuestionAnswering(Batches[Row]):
    """Cross-entropy of the answer's first and last token, the mean of both."""

    metric = "f1"

    def __init__(
        self,
        encoder: Encoder,
        examples: Sequence[Question],
        *,
        max_tokens: int,
        max_rows: int | None,
    ) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)
        # Those of the validation file: rows of it name their example.
        self._examples = examples

    def count(self, rows: Sequence[Row]) -> int:
        return len(rows)

    def score(self, rows: Sequence[Row]) -> Score:
        scores = self._scores(rows)
        targets = torch.from_numpy(np.stack([row.target for row in rows])).to(scores.device)
        losses = functional.nll_loss(scores, targets, reduction="none").mean(1)
        right = (scores.argmax(1) == targets).all(1)
        return Score(loss=losses.sum(), count=len(rows), correct=right.sum())

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Row]) -> Report:
        found: dict[int, str] = {}
        for source, windows in groupby(self._scored(rows), key=lambda pair: pair[0].source):
            pairs = list(windows)
            context = self._examples[source].context
            texts, scores = [row.text for row, _ in pairs], [score for _, score in pairs]
            answer, none = best(context, texts, scores)
            empty = self.encoder.task.many and none > answer.score
            found[source] = "" if empty else context[answer.start : answer.end]
        asked = sorted(found)
        truth = [[span.text for span in self._examples[source].answers] for source in asked]
        wrong = [
            {
                "example": source + 1,
                "expected": [text[:LONGEST_SHOWN] for text in right],
                "found": found[source][:LONGEST_SHOWN],
            }
            for source, right in zip(asked, truth, strict=True)
            if not metrics.answers([right], [found[source]])["exact_match"]
        ]
        report = metrics.answers(truth, [found[source] for source in asked])
        return Report(**report, **listed(wrong))

    def _scored(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Array]]:
        scored: list[tuple[Row, Array]] = []
        for part in self.split(rows):
            scored += zip(part, self._scores(part).cpu().numpy(), strict=True)
        return iter(sorted(scored, key=lambda pair: pair[0].source))

    def _scores(self, rows: Sequence[Row]) -> Tensor:
        """Log-probabilities of start and end [rows, length, 2]."""
        hidden, batch = self.encoder.hidden([row.text for row in rows])
        may = np.zeros(batch.ids.shape, dtype=bool)
        for number, row in enumerate(rows):
            may[number, : row.size] = allowed(row.text)
        logits = self.encoder.head(self.encoder.dropout(hidden.float()))
        forbidden = ~torch.from_numpy(may).to(hidden.device)[..., None]
        return functional.log_softmax(logits.masked_fill(forbidden, -1e9), dim=1)
