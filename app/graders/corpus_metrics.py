"""Metrics of many texts together: accuracy and F1 of labels, BLEU and chrF of translations.

What one text contributes is small and can be summed: a run keeps it with the text's result.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

from app.monitoring import classification_metrics
from app.monitoring.traffic import TrafficCounts

MAX_LABEL_CHARS = 256
# Labels that a report lists; of more, those that came first.
MAX_LISTED_LABELS = 1000
BLEU_SCORER, CHRF_SCORER = BLEU(), CHRF()


def compare_labels(
    text: str, reference: str, labels: Sequence[str] | None
) -> dict[str, str | None]:
    """Read two texts as labels. One that is none of `labels` is null."""
    predicted, expected = text.strip()[:MAX_LABEL_CHARS], reference.strip()[:MAX_LABEL_CHARS]
    is_label = labels is None or predicted in labels
    return {"expected": expected, "predicted": predicted if is_label else None}


def compare_translations(text: str, reference: str) -> tuple[float, dict[str, Any]]:
    """chrF of one translation, from 0 to 1, and the statistics of those of all together."""
    statistics = {
        "bleu": BLEU_SCORER._extract_corpus_statistics([text], [[reference]])[0],
        "chrf": CHRF_SCORER._extract_corpus_statistics([text], [[reference]])[0],
    }
    score = CHRF_SCORER._compute_score_from_stats(statistics["chrf"]).score
    return float(score) / 100, statistics


def forget_texts() -> None:
    """Empty sacrebleu's caches, which would keep the last 65,536 texts of all projects."""
    for tokenizer in (Tokenizer13a, TokenizerRegexp):
        tokenizer.__call__.cache_clear()


def summarize_labels(results: Iterable[Mapping[str, str | None]]) -> dict[str, Any] | None:
    """Accuracy, F1 of each kind of average and the metrics of each label; None for no results."""
    counts: TrafficCounts = {}
    indexes: dict[str | None, int] = {}
    for result in results:
        expected = indexes.setdefault(result["expected"], len(indexes))
        predicted = result["predicted"]
        # What is no label is no prediction: it counts as an error of the expected label only.
        chosen = [] if predicted is None else [indexes.setdefault(predicted, len(indexes))]
        classification_metrics.count_prediction(counts, chosen, [expected])
    names = [str(label) for label in indexes]
    metrics = classification_metrics.compute_metrics(counts, names)
    if metrics is None:
        return None
    summary = metrics.model_dump()
    listed = list(summary["per_label"].items())[:MAX_LISTED_LABELS]
    return summary | {"per_label": dict(listed)}


def sum_statistics(total: dict[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Add what a translation contributes."""
    return {
        name: [a + b for a, b in zip(total.get(name, [0] * len(values)), values, strict=True)]
        for name, values in statistics.items()
    }


def summarize_translations(total: Mapping[str, Any]) -> dict[str, float] | None:
    """Corpus BLEU and chrF, as sacrebleu's, from 0 to 100; None for no translations."""
    if not total:
        return None
    return {
        "bleu": round(float(BLEU_SCORER._compute_score_from_stats(total["bleu"]).score), 4),
        "chrf": round(float(CHRF_SCORER._compute_score_from_stats(total["chrf"]).score), 4),
    }
