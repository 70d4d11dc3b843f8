"""What the API is told of the texts of an answer, so that models can be monitored: numbers only."""

from collections import Counter
from collections.abc import Sequence

from app import histogram_bins
from app.wire.engine_metadata import MAX_TEXTS_WITH_LABELS, EngineMetadata, metadata_from_lengths
from worker.encoding.tokenizer import TokenizedText
from worker.inference.encoders.registry import ServedEncoder
from worker.inference.encoders.tasks import Classification


def build_metadata(
    served: ServedEncoder, texts: Sequence[TokenizedText], classes: Classification | None = None
) -> EngineMetadata:
    """Lengths and unknown tokens of the texts; of a classifier's also what it found."""
    seen = metadata_from_lengths([len(text.ids) for text in texts])
    familiar = None if served.tuned is None else served.tuned.vocab_coverage
    if familiar is not None:
        shares = [familiar.oov_rate(text) for text in texts]
        seen.unknown = histogram_bins.RATIO_BINS.count(shares)
    if classes is not None:
        _add_predictions(seen, classes)
    return seen


def _add_predictions(seen: EngineMetadata, classes: Classification) -> None:
    confidences = classes.probabilities.max(1).tolist()
    seen.confidence = histogram_bins.CONFIDENCE_BINS.count(confidences)
    seen.labels = dict(Counter(place for places in classes.label_indices for place in places))
    seen.unlabelled = sum(not places for places in classes.label_indices)
    if len(classes.label_indices) <= MAX_TEXTS_WITH_LABELS:
        seen.found = classes.label_indices
