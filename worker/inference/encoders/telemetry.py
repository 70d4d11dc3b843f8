"""Metadata of an encoder's response for model monitoring: counts only, no text."""

from collections import Counter
from collections.abc import Sequence

from app import histogram_bins
from app.wire.engine_metadata import MAX_TEXTS_WITH_LABELS, EngineMetadata, metadata_from_lengths
from worker.encoding.tokenizer import TokenizedText
from worker.inference.encoders.served_encoder import ServedEncoder
from worker.inference.encoders.tasks import Classification


def build_metadata(
    served: ServedEncoder,
    texts: Sequence[TokenizedText],
    classification: Classification | None = None,
) -> EngineMetadata:
    """Count lengths and out-of-vocabulary tokens of texts and, for a classifier, its labels."""
    metadata = metadata_from_lengths([len(text.ids) for text in texts])
    vocab_coverage = None if served.tuned is None else served.tuned.vocab_coverage
    if vocab_coverage is not None:
        ratios = [vocab_coverage.oov_rate(text) for text in texts]
        metadata.unknown_token_ratio = histogram_bins.RATIO_BINS.count(ratios)
    if classification is not None:
        _add_predictions(metadata, classification)
    return metadata


def _add_predictions(metadata: EngineMetadata, classification: Classification) -> None:
    confidences = classification.probabilities.max(1).tolist()
    metadata.confidence = histogram_bins.CONFIDENCE_BINS.count(confidences)
    labels = classification.label_indices
    metadata.labels = dict(Counter(index for indices in labels for index in indices))
    metadata.unlabelled = sum(not indices for indices in labels)
    if len(labels) <= MAX_TEXTS_WITH_LABELS:
        metadata.predicted_labels = labels
