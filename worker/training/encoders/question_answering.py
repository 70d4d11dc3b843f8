"""Where in a context the answer to a question stands, or that it does not."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats import iter_examples
from app.formats.question_answering import QuestionExample, to_example
from app.formats.word_boundaries import CharSpan
from worker.encoding.answer_spans import (
    WINDOW_OVERLAP,
    answer_mask,
    best_answer,
    token_span,
    trim_span,
)
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.training.encoders import metrics
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import (
    EvaluationReport,
    LengthGroupedObjective,
    list_wrong_examples,
)
from worker.training.encoders.rows import Array, TextRow
from worker.training.objectives import LossOutput

# Characters of an answer in the list of those that went wrong.
MAX_SHOWN_LENGTH = 200


def read_examples(path: Path) -> list[QuestionExample]:
    """Raises FaultyFile."""
    return list(iter_examples(path, {"question_answering": to_example}))


def infer_task(examples: Sequence[QuestionExample], length: int) -> EncoderTask:
    """`many` says that a question may have no answer."""
    unanswered = any(not one.answers for one in examples)
    labels = ("start", "end")
    return EncoderTask(
        method="question_answering", labels=labels, multi_label=unanswered, max_length=length
    )


def build_rows(
    examples: Sequence[QuestionExample], task: EncoderTask, reader: EncoderTokenizer
) -> list[TextRow]:
    """A row for each window. Targets [2]: the tokens of start and end; 0 where none is there."""
    rows = []
    contexts: dict[str, int] = {}
    for source, one in enumerate(examples):
        stride = min(WINDOW_OVERLAP, reader.max_length // 4)
        origin = contexts.setdefault(one.context, len(contexts))
        for window in reader.tokenize_windows(one.question, one.context, overlap=stride):
            target = np.array(_target_tokens(window, one), dtype=np.int64)
            rows.append(TextRow(window, target, source, origin))
    return rows


def _target_tokens(window: TokenizedText, one: QuestionExample) -> tuple[int, int]:
    if not one.answers:
        return 0, 0
    return token_span(window, *target_answer_span(one))


def target_answer_span(one: QuestionExample) -> CharSpan:
    """The characters of the answer that is learned, the first."""
    first = one.answers[0]
    return trim_span(one.context, first.start, first.start + len(first.text))


class QuestionAnsweringObjective(LengthGroupedObjective[TextRow]):
    """Cross-entropy of the answer's first and last token, the mean of both."""

    metric = "f1"

    def __init__(
        self,
        encoder: Encoder,
        examples: Sequence[QuestionExample],
        *,
        max_tokens: int,
        max_rows: int | None,
    ) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)
        # Those of the validation file: rows of it name their example.
        self._examples = examples

    def num_items(self, rows: Sequence[TextRow]) -> int:
        return len(rows)

    def compute_loss(self, rows: Sequence[TextRow]) -> LossOutput:
        scores = self._span_logprobs(rows)
        targets = torch.from_numpy(np.stack([row.target for row in rows])).to(scores.device)
        losses = functional.nll_loss(scores, targets, reduction="none").mean(1)
        right = (scores.argmax(1) == targets).all(1)
        return LossOutput(loss=losses.sum(), num_items=len(rows), correct=right.sum())

    @torch.no_grad()
    def evaluate(self, rows: Sequence[TextRow]) -> EvaluationReport:
        found: dict[int, str] = {}
        for source, windows in groupby(
            self._rows_with_scores(rows), key=lambda pair: pair[0].example_index
        ):
            pairs = list(windows)
            context = self._examples[source].context
            texts, scores = [row.text for row, _ in pairs], [score for _, score in pairs]
            answer, none = best_answer(context, texts, scores)
            empty = self.encoder.task.multi_label and none > answer.score
            found[source] = "" if empty else context[answer.start : answer.end]
        asked = sorted(found)
        truth = [[span.text for span in self._examples[source].answers] for source in asked]
        wrong = [
            {
                "example": source + 1,
                "expected": [text[:MAX_SHOWN_LENGTH] for text in right],
                "found": found[source][:MAX_SHOWN_LENGTH],
            }
            for source, right in zip(asked, truth, strict=True)
            if not metrics.answer_metrics([right], [found[source]])["exact_match"]
        ]
        report = metrics.answer_metrics(truth, [found[source] for source in asked])
        return EvaluationReport(**report, **list_wrong_examples(wrong))

    def _rows_with_scores(self, rows: Sequence[TextRow]) -> Iterator[tuple[TextRow, Array]]:
        scored: list[tuple[TextRow, Array]] = []
        for part in self.split(rows):
            scored += zip(part, self._span_logprobs(part).cpu().numpy(), strict=True)
        return iter(sorted(scored, key=lambda pair: pair[0].example_index))

    def _span_logprobs(self, rows: Sequence[TextRow]) -> Tensor:
        """Log-probabilities of start and end [rows, length, 2]."""
        hidden, batch = self.encoder.token_states([row.text for row in rows])
        may = np.zeros(batch.ids.shape, dtype=bool)
        for number, row in enumerate(rows):
            may[number, : row.num_tokens] = answer_mask(row.text)
        logits = self.encoder.head(self.encoder.dropout(hidden.float()))
        forbidden = ~torch.from_numpy(may).to(hidden.device)[..., None]
        return functional.log_softmax(logits.masked_fill(forbidden, -1e9), dim=1)
