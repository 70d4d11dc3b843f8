"""Precision, recall and F1 of whole entities in BIO tags, by the definitions of seqeval.

An entity counts if its span and its label are correct. An I- tag that continues no entity begins
one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.formats.token_classification import entities_from_tags

Entity = tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class EntityScores:
    """Scores of one label, or of all. Undefined ones are 0. `support` counts true entities."""

    precision: float
    recall: float
    f1: float
    support: int

    @classmethod
    def from_counts(cls, correct: int, predicted: int, true: int) -> "EntityScores":
        return cls(
            precision=correct / predicted if predicted else 0.0,
            recall=correct / true if true else 0.0,
            f1=2 * correct / (predicted + true) if predicted + true else 0.0,
            support=true,
        )


@dataclass(frozen=True, slots=True)
class EntityReport:
    """Scores of each label that occurs, and over all entities (micro average)."""

    per_label: dict[str, EntityScores]
    overall: EntityScores

    def f1_macro(self) -> float:
        """Mean F1 of the labels."""
        return sum(scores.f1 for scores in self.per_label.values()) / len(self.per_label)

    def f1_weighted(self) -> float:
        """Mean F1 of the labels, weighted by their number of true entities."""
        weighted = sum(scores.f1 * scores.support for scores in self.per_label.values())
        return weighted / self.overall.support if self.overall.support else 0.0


def score_entities(
    truth: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> EntityReport:
    """Compare the entities of predicted tags with the true ones, text by text."""
    true, predicted = _find_entities(truth), _find_entities(predictions)
    counts = [_count_labels(entities) for entities in (true & predicted, predicted, true)]
    labels = sorted(counts[1].keys() | counts[2].keys())
    return EntityReport(
        {
            label: EntityScores.from_counts(*(by_label[label] for by_label in counts))
            for label in labels
        },
        EntityScores.from_counts(*(by_label.total() for by_label in counts)),
    )


def _find_entities(texts: Sequence[Sequence[str]]) -> set[Entity]:
    """Find all entities: number of the text, first word, end and label."""
    return {
        (number, span.start, span.end, span.label)
        for number, tags in enumerate(texts)
        for span in entities_from_tags(tags, [(word, word + 1) for word in range(len(tags))])
    }


def _count_labels(entities: Iterable[Entity]) -> Counter[str]:
    return Counter(label for *_, label in entities)
