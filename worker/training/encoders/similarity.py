"""Embeddings trained on scored pairs of texts: the cosines learn the order of the scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.formats.embedding import ScoredTextPair
from worker.encoding.rows.similarity import ScoredPairRow
from worker.training.encoders import metrics
from worker.training.encoders.contrastive import SIMILARITY_SCALE, ContrastiveObjective
from worker.training.encoders.micro_batches import Array
from worker.training.encoders.objective import EvaluationReport, list_wrong_examples
from worker.training.objectives import LossOutput
from worker.training.validation import Parts


class CosentObjective(ContrastiveObjective[ScoredPairRow]):
    """CoSENT loss (Su 2022, https://kexue.fm/archives/8847).

    log(1 + Σ exp(scale · (cos_j - cos_i))) over all i, j of a batch where i has the higher score.
    Only the order of the scores matters.
    """

    metric = "spearman"

    def compute_loss(self, rows: Sequence[ScoredPairRow]) -> LossOutput:
        cosines = self._compute_cosines(rows)
        # As they are written: float32 has one infinity for all beyond 3.4e38.
        scores = torch.tensor(
            [row.score for row in rows], dtype=torch.float64, device=cosines.device
        )
        is_higher = scores[:, None] > scores[None]
        differences = SIMILARITY_SCALE * (cosines[None] - cosines[:, None])
        terms = differences.masked_fill(~is_higher, -torch.inf).flatten()
        loss = torch.cat([terms.new_zeros(1), terms]).logsumexp(0)
        in_order = ((differences < 0) & is_higher).sum() / is_higher.sum().clamp(min=1)
        return LossOutput(
            loss=loss * len(rows),
            correct=(in_order * len(rows)).round(),
            outputs=cosines.detach(),
        )

    def measure(self, parts: Parts[ScoredPairRow]) -> EvaluationReport:
        rows = [row for part, _ in parts for row in part]
        cosines = torch.cat([cosines for _, cosines in parts if cosines is not None])
        return _report(rows, cosines.numpy())

    def served_inputs(
        self, rows: Sequence[ScoredPairRow], examples: Sequence[ScoredTextPair]
    ) -> list[str]:
        pairs = [examples[row.example_index] for row in rows]
        return [*(pair.first for pair in pairs), *(pair.second for pair in pairs)]

    def score(self, rows: Sequence[ScoredPairRow], predictions: Array) -> EvaluationReport:
        """See EncoderObjective; `predictions` are the vectors of all first and second texts."""
        first, second = np.split(predictions, 2)
        return _report(rows, (first * second).sum(1))

    def _compute_cosines(self, rows: Sequence[ScoredPairRow]) -> Tensor:
        """Compute the cosine similarity of each row's two texts [rows]."""
        texts = [*(row.first for row in rows), *(row.second for row in rows)]
        first, second = self.embed(texts).chunk(2)
        return (first * second).sum(1)


def _report(rows: Sequence[ScoredPairRow], cosines: Array) -> EvaluationReport:
    report = EvaluationReport(metrics.correlation_metrics([row.score for row in rows], cosines))
    report.update(list_wrong_examples(_list_misranked(rows, cosines)))
    return report


def _list_misranked(rows: Sequence[ScoredPairRow], cosines: Array) -> list[dict[str, Any]]:
    """List the rows whose ranks by cosine and by score differ by a quarter of the file or more.

    Those with the largest difference come first.
    """
    rank_distances = metrics.rank_differences([row.score for row in rows], cosines)
    order = sorted(range(len(rows)), key=lambda index: -rank_distances[index])
    return [
        {
            "example": rows[index].example_index + 1,
            "expected": rows[index].score,
            "found": round(float(cosines[index]), 4),
        }
        for index in order
        if rank_distances[index] >= len(rows) / 4
    ]
