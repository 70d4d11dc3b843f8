"""Extractive question answering: the span of the answer in a context, or no answer."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats.question_answering import QuestionExample
from worker.encoding.answer_spans import (
    answer_mask,
    best_answer,
)
from worker.encoding.rows.row import TextRow
from worker.encoding.segmentation import Segmentation
from worker.training.encoders import metrics
from worker.training.encoders.micro_batches import Array
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import (
    EvaluationReport,
    LengthGroupedObjective,
    list_wrong_examples,
)
from worker.training.objectives import LossOutput
from worker.training.validation import Parts

# Characters of an answer shown in the list of wrong predictions.
MAX_SHOWN_LENGTH = 200


class QuestionAnsweringObjective(LengthGroupedObjective[TextRow]):
    """Mean cross-entropy of the answer's first and last token."""

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
        # Examples of the validation file, to which `example_index` of its rows refers.
        self._examples = examples

    def num_items(self, rows: Sequence[TextRow]) -> int:
        return len(rows)

    def compute_loss(self, rows: Sequence[TextRow]) -> LossOutput:
        scores = self._span_logprobs(rows)
        targets = torch.from_numpy(np.stack([row.target for row in rows])).to(scores.device)
        losses = functional.nll_loss(scores, targets, reduction="none").mean(1)
        correct = (scores.argmax(1) == targets).all(1)
        return LossOutput(loss=losses.sum(), correct=correct.sum(), outputs=scores.detach())

    def measure(self, parts: Parts[TextRow]) -> EvaluationReport:
        scored = _list_rows_with_scores(parts)
        predictions: list[str] = []
        for example_index, windows in groupby(scored, key=lambda pair: pair[0].example_index):
            pairs = list(windows)
            context = self._examples[example_index].context
            predictions.append(self._best_answer(context, pairs))
        return self.score([row for row, _ in scored], predictions)

    def served_inputs(
        self, rows: Sequence[TextRow], examples: Sequence[QuestionExample]
    ) -> list[QuestionExample]:
        return [examples[index] for index in _example_indices(rows)]

    def score(self, rows: Sequence[TextRow], predictions: Sequence[str]) -> EvaluationReport:
        """See EncoderObjective; `predictions` are in the order of the examples."""
        example_indices = _example_indices(rows)
        truth = [
            [span.text for span in self._examples[example_index].answers]
            for example_index in example_indices
        ]
        wrong = [
            {
                "example": example_index + 1,
                "expected": [text[:MAX_SHOWN_LENGTH] for text in correct],
                "found": found[:MAX_SHOWN_LENGTH],
            }
            for example_index, correct, found in zip(
                example_indices, truth, predictions, strict=True
            )
            if not metrics.answer_metrics([correct], [found])["exact_match"]
        ]
        report = metrics.answer_metrics(truth, predictions)
        return EvaluationReport(**report, **list_wrong_examples(wrong))

    def _best_answer(self, context: str, windows: Sequence[tuple[TextRow, Array]]) -> str:
        """Find the answer that a client would get, or "" for none."""
        task = self.encoder.task
        answer, no_answer = best_answer(
            context,
            [row.text for row, _ in windows],
            [score for _, score in windows],
            whole_words=task.segmentation == Segmentation.WORDS,
        )
        if task.allow_no_answer and no_answer > answer.score:
            return ""
        return context[answer.start : answer.end]

    def _span_logprobs(self, rows: Sequence[TextRow]) -> Tensor:
        """Compute log-probabilities of start and end for each token [rows, length, 2]."""
        hidden, batch = self.encoder.compute_token_states([row.text for row in rows])
        mask = np.zeros(batch.ids.shape, dtype=bool)
        for index, row in enumerate(rows):
            mask[index, : row.num_tokens] = answer_mask(row.text)
        logits = self.encoder.head(self.encoder.dropout(hidden.float()))
        forbidden = ~torch.from_numpy(mask).to(hidden.device)[..., None]
        return functional.log_softmax(logits.masked_fill(forbidden, -1e9), dim=1)


def _list_rows_with_scores(parts: Parts[TextRow]) -> list[tuple[TextRow, Array]]:
    """List the rows in the order of the file, with the log-probabilities of start and end."""
    scored: list[tuple[TextRow, Array]] = []
    for part, scores in parts:
        assert scores is not None
        scored += zip(part, scores.numpy(), strict=True)
    return sorted(scored, key=lambda pair: pair[0].example_index)


def _example_indices(rows: Sequence[TextRow]) -> list[int]:
    """List the examples of the rows, of which each window of a context is one."""
    return sorted({row.example_index for row in rows})
