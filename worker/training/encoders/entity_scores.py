"""Precision, recall and F1 of whole entities, by the definitions of seqeval.

An entity counts if its span and its label are correct.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.formats.token_classification import EntitySpan

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
    truth: Sequence[Sequence[EntitySpan]], predictions: Sequence[Sequence[EntitySpan]]
) -> EntityReport:
    """Compare the predicted entities with the true ones, text by text."""
    true, predicted = _number_entities(truth), _number_entities(predictions)
    counts = [_count_labels(entities) for entities in (true & predicted, predicted, true)]
    labels = sorted(counts[1].keys() | counts[2].keys())
    return EntityReport(
        {
            label: EntityScores.from_counts(*(by_label[label] for by_label in counts))
            for label in labels
        },
        EntityScores.from_counts(*(by_label.total() for by_label in counts)),
    )


def _number_entities(texts: Sequence[Sequence[EntitySpan]]) -> set[Entity]:
    """List all entities: number of the text, start, end and label."""
    return {
        (number, entity.start, entity.end, entity.label)
        for number, entities in enumerate(texts)
        for entity in entities
    }


def _count_labels(entities: Iterable[Entity]) -> Counter[str]:
    return Counter(label for *_, label in entities)
