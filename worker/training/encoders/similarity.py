"""Pairs of texts with a score: the higher it is, the nearer they shall lie."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.formats.embedding import Likeness
from worker.encoding.tokenizer import Reader, Text
from worker.training.encoders import metrics
from worker.training.encoders.contrastive import SCALE, Contrast
from worker.training.encoders.objective import Report, listed
from worker.training.encoders.rows import Array
from worker.training.objectives import Score


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPair:
    """A Likeness in tokens. `source` is the example's place in the file."""

    first: Text
    second: Text
    score: float
    source: int

    @property
    def size(self) -> int:
        return len(self.first.ids) + len(self.second.ids)

    @property
    def key(self) -> bytes:
        return self.first.ids.tobytes() + self.second.ids.tobytes()

    @property
    def whole(self) -> bool:
        return self.first.whole and self.second.whole

    @property
    def texts(self) -> Sequence[tuple[Hashable, Text]]:
        return tuple((text.ids.tobytes(), text) for text in (self.first, self.second))


def rows_of(examples: Sequence[Likeness], reader: Reader) -> list[ScoredPair]:
    """The examples in tokens."""
    firsts = reader.read([one.first for one in examples])
    seconds = reader.read([one.second for one in examples])
    return [
        ScoredPair(first, second, one.score, source)
        for source, (one, first, second) in enumerate(zip(examples, firsts, seconds, strict=True))
    ]


class Similarity(Contrast[ScoredPair]):
    """CoSENT (Su 2022, https://kexue.fm/archives/8847): log(1 + Σ exp(scale · (cos_j - cos_i)))
    over all i, j of a batch of which i has the higher score. Of scores only the order counts."""

    metric = "spearman"

    def score(self, rows: Sequence[ScoredPair]) -> Score:
        cosines = self._cosines(rows)
        scores = torch.tensor([row.score for row in rows], device=cosines.device)
        higher = scores[:, None] > scores[None]
        behind = SCALE * (cosines[None] - cosines[:, None])
        terms = behind.masked_fill(~higher, -torch.inf).flatten()
        loss = torch.cat([terms.new_zeros(1), terms]).logsumexp(0)
        in_order = ((behind < 0) & higher).sum() / higher.sum().clamp(min=1)
        return Score(loss=loss * len(rows), count=len(rows), correct=(in_order * len(rows)).round())

    @torch.no_grad()
    def evaluate(self, rows: Sequence[ScoredPair]) -> Report:
        cosines = self._cosines(rows).cpu().numpy()
        scores = [row.score for row in rows]
        report = Report(metrics.likeness(scores, cosines))
        report.update(listed(_astray(rows, cosines)))
        return report

    def _cosines(self, rows: Sequence[ScoredPair]) -> Tensor:
        """The likeness of each row's texts [rows]."""
        texts = [*(row.first for row in rows), *(row.second for row in rows)]
        first, second = self.vectors(texts).chunk(2)
        return (first * second).sum(1)


def _astray(rows: Sequence[ScoredPair], cosines: Array) -> list[dict[str, Any]]:
    """The rows whose place by likeness is a quarter of the file or more from that by score, those
    farthest away first."""
    away = metrics.rank_differences([row.score for row in rows], cosines)
    order = sorted(range(len(rows)), key=lambda place: -away[place])
    return [
        {
            "example": rows[place].source + 1,
            "expected": rows[place].score,
            "found": round(float(cosines[place]), 4),
        }
        for place in order
        if away[place] >= len(rows) / 4
    ]
