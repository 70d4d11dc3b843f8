"""What the API is told of the texts of an answer, so that models can be monitored: numbers only."""

from collections import Counter
from collections.abc import Sequence

from app import histogram_bins
from app.wire.engine_metadata import MOST_NAMED, Observation, of_lengths
from worker.encoding.tokenizer import Text
from worker.inference.encoders.registry import ServedEncoder
from worker.inference.encoders.tasks import Classes


def observe(
    served: ServedEncoder, texts: Sequence[Text], classes: Classes | None = None
) -> Observation:
    """Lengths and unknown tokens of the texts; of a classifier's also what it found."""
    seen = of_lengths([len(text.ids) for text in texts])
    familiar = None if served.tuned is None else served.tuned.familiar
    if familiar is not None:
        shares = [familiar.unknown_share(text) for text in texts]
        seen.unknown = histogram_bins.SHARES.count(shares)
    if classes is not None:
        _add_classes(seen, classes)
    return seen


def _add_classes(seen: Observation, classes: Classes) -> None:
    confidences = classes.probabilities.max(1).tolist()
    seen.confidence = histogram_bins.CONFIDENCES.count(confidences)
    seen.labels = dict(Counter(place for places in classes.chosen for place in places))
    seen.unlabelled = sum(not places for places in classes.chosen)
    if len(classes.chosen) <= MOST_NAMED:
        seen.found = classes.chosen
