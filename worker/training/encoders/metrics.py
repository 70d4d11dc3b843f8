"""Task metrics, computed by scikit-learn and SciPy, or by the rules of seqeval and SQuAD.

Each function returns a complete report for evaluation.json; `scalar_metrics` picks the numbers that
are reported as events.
"""

import collections
import re
import string
from collections.abc import Mapping, Sequence, Set
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.formats.token_classification import EntitySpan
from worker.training.encoders.entity_scores import EntityScores, score_entities
from worker.training.encoders.micro_batches import Array

PUNCTUATION = frozenset(string.punctuation)
# A confusion matrix of more labels is unreadable, and takes megabytes.
MAX_CONFUSION_LABELS = 200
# Of confidences, each a tenth wide.
CALIBRATION_BINS = 10
# The k of retrieval_at_k.
RETRIEVAL_KS = (1, 5, 10)


def _sklearn_metrics() -> Any:
    # Imported where they are used: both take long, and training needs neither before it evaluates.
    from sklearn import metrics

    return metrics


def _scipy_stats() -> Any:
    from scipy import stats

    return stats


def scalar_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the scalar metrics of a report: its floats."""
    return {name: value for name, value in report.items() if isinstance(value, float)}


def single_label_metrics(
    truth: Array, probabilities: Array, labels: Sequence[str]
) -> dict[str, Any]:
    """Metrics of single-label classification. truth [rows], probabilities [rows, labels]."""
    predictions = probabilities.argmax(1)
    label_indices = np.arange(len(labels))
    report = {
        "accuracy": float(_sklearn_metrics().accuracy_score(truth, predictions)),
        **_averages(truth, predictions, np.union1d(truth, predictions)),
        "per_label": _per_label(truth, predictions, labels),
        "calibration": calibration(truth, probabilities),
    }
    if len(labels) <= MAX_CONFUSION_LABELS:
        matrix = _sklearn_metrics().confusion_matrix(truth, predictions, labels=label_indices)
        report["confusion_matrix"] = {"labels": list(labels), "rows": matrix.tolist()}
    return report | _roc_auc(truth, probabilities, labels)


def calibration(truth: Array, probabilities: Array) -> dict[str, Any]:
    """The accuracy of predictions by their confidence, and the mean distance between both.

    truth [rows], probabilities [rows, labels]. Bins without rows are left out. `error` is the
    expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
    """
    confidences = probabilities.max(1)
    correct = probabilities.argmax(1) == truth
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    filled = [
        {
            "rows": int((bins == index).sum()),
            "confidence": float(confidences[bins == index].mean()),
            "accuracy": float(correct[bins == index].mean()),
        }
        for index in np.unique(bins)
    ]
    distances = [part["rows"] * abs(part["confidence"] - part["accuracy"]) for part in filled]
    return {"error": sum(distances) / len(truth), "bins": filled}


def multi_label_metrics(
    truth: Array, probabilities: Array, labels: Sequence[str]
) -> dict[str, Any]:
    """Metrics of multi-label classification. Both arrays are [rows, labels]; truth is 0 or 1."""
    predictions = (probabilities >= 0.5).astype(int)
    occurring = np.flatnonzero(truth.any(0) | predictions.any(0))
    report = {
        "accuracy": float(_sklearn_metrics().accuracy_score(truth, predictions)),
        **_averages(truth, predictions, occurring if len(occurring) else np.arange(len(labels))),
        "per_label": _per_label(truth, predictions, labels),
        "confusion_matrix": {
            label: matrix.tolist()
            for label, matrix in zip(
                labels,
                _sklearn_metrics().multilabel_confusion_matrix(truth, predictions),
                strict=True,
            )
        },
    }
    # ROC AUC is undefined for a label that all texts have, or none.
    mixed = (truth.min(0) == 0) & (truth.max(0) == 1)
    if mixed.any():
        report["roc_auc"] = float(
            _sklearn_metrics().roc_auc_score(truth[:, mixed], probabilities[:, mixed])
        )
    return report


def entity_metrics(
    truth: Sequence[Sequence[EntitySpan]],
    predictions: Sequence[Sequence[EntitySpan]],
) -> dict[str, Any]:
    """Entity metrics: an entity counts if its span and label are correct.

    If no entity exists and none was predicted, averages over labels are undefined and omitted.
    """
    if not any(truth) and not any(predictions):
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0, "per_label": {}}
    report = score_entities(truth, predictions)
    return {
        "precision": report.overall.precision,
        "recall": report.overall.recall,
        "f1": report.overall.f1,
        "f1_macro": report.f1_macro(),
        "f1_weighted": report.f1_weighted(),
        "per_label": {label: _entity_row(scores) for label, scores in report.per_label.items()},
    }


def _entity_row(scores: EntityScores) -> dict[str, float]:
    """The scores of a label under the names of scikit-learn's classification_report."""
    return {
        "precision": scores.precision,
        "recall": scores.recall,
        "f1-score": scores.f1,
        "support": float(scores.support),
    }


def answer_metrics(truth: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, Any]:
    """Exact match and token F1, from 0 to 1, as SQuAD's official script defines them.

    `truth` has all correct answers of each question, or none if it has no answer. The prediction ""
    means no answer.
    """
    pairs = list(zip(truth, predictions, strict=True))
    exact = [
        max(_normalize_answer(answer) == _normalize_answer(text) for answer in answers or [""])
        for answers, text in pairs
    ]
    f1s = [max(_token_f1(answer, text) for answer in answers or [""]) for answers, text in pairs]
    return {"exact_match": float(np.mean(exact)), "f1": float(np.mean(f1s))}


def _token_f1(answer: str, predictions: str) -> float:
    predicted_tokens, true_tokens = (
        _normalize_answer(predictions).split(),
        _normalize_answer(answer).split(),
    )
    if not predicted_tokens or not true_tokens:
        return float(predicted_tokens == true_tokens)
    common = sum(
        (collections.Counter(predicted_tokens) & collections.Counter(true_tokens)).values()
    )
    return 2 * common / (len(predicted_tokens) + len(true_tokens))


def _normalize_answer(text: str) -> str:
    """Remove case, punctuation, articles and extra spaces (SQuAD's evaluate-v2.0.py)."""
    bare = "".join(char for char in text.lower() if char not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def nearest_neighbours(vectors: Tensor, count: int) -> Array:
    """Find the indices of each text's nearest other texts, nearest first [texts, at most count].

    vectors [texts, width] of length 1. Computed in chunks, as all similarities may not fit into
    memory.
    """
    chunks = []
    for start in range(0, len(vectors), 1024):
        similarities = vectors[start : start + 1024] @ vectors.T
        own = torch.arange(len(similarities), device=vectors.device)
        similarities[own, own + start] = -torch.inf
        chunks.append(similarities.topk(min(count, len(vectors) - 1)).indices)
    neighbours: Array = torch.cat(chunks).cpu().numpy()
    return neighbours


def indices_with_positive(groups: Sequence[Set[int]]) -> list[int]:
    """List the indices of the texts that share a group with another text."""
    sizes = collections.Counter(chain.from_iterable(groups))
    return [
        index
        for index, text_groups in enumerate(groups)
        if any(sizes[group] > 1 for group in text_groups)
    ]


def retrieval_metrics(nearest: Array, groups: Sequence[Set[int]]) -> dict[str, float]:
    """Compute hit rates: the share of texts with a text of their group among the k nearest others.

    nearest [texts, 10 or fewer] is from `nearest_neighbours`. Texts that share a group with no
    other are skipped; {} if none is left.
    """
    queries = indices_with_positive(groups)
    if not queries:
        return {}
    hits = np.array(
        [
            [not groups[index].isdisjoint(groups[neighbour]) for neighbour in nearest[index]]
            for index in queries
        ]
    )
    return {f"retrieval_at_{k}": float(hits[:, :k].any(1).mean()) for k in RETRIEVAL_KS}


def correlation_metrics(scores: Sequence[float], cosines: Array) -> dict[str, float]:
    """Spearman and Pearson correlation; {} if either input is constant."""
    if len(set(scores)) < 2 or len(np.unique(cosines)) < 2:
        return {}
    values = np.array(scores, dtype=np.float64)
    # Sums of the largest doubles would be infinite; a power of 2 changes no bit of the others.
    scaled = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
    return {
        "spearman": float(_scipy_stats().spearmanr(scores, cosines).statistic),
        "pearson": float(_scipy_stats().pearsonr(scaled, cosines).statistic),
    }


def rank_differences(scores: Sequence[float], cosines: Array) -> Array:
    """Distance between each row's ranks by score and by cosine [rows]."""
    distances: Array = np.abs(_scipy_stats().rankdata(scores) - _scipy_stats().rankdata(cosines))
    return distances


def _averages(truth: Array, predictions: Array, labels: Array) -> dict[str, float]:
    """Averages over `labels`: those that occur in the truth or the predictions.

    A label that occurs only in the training file would otherwise count with a score of 0.
    """
    metrics = _sklearn_metrics()
    measures = {
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "f1": metrics.f1_score,
    }
    return {
        f"{name}_{kind}": float(
            measure(truth, predictions, labels=labels, average=kind, zero_division=0)
        )
        for name, measure in measures.items()
        for kind in ("micro", "macro", "weighted")
    }


def _per_label(truth: Array, predictions: Array, labels: Sequence[str]) -> dict[str, Any]:
    table = _sklearn_metrics().classification_report(
        truth,
        predictions,
        labels=np.arange(len(labels)),
        target_names=[str(index) for index in range(len(labels))],
        output_dict=True,
        zero_division=0,
    )
    return {
        label: {key: float(value) for key, value in table[str(index)].items()}
        for index, label in enumerate(labels)
    }


def _roc_auc(truth: Array, probabilities: Array, labels: Sequence[str]) -> dict[str, float]:
    # Defined only if each label occurs.
    if len(np.unique(truth)) < len(labels):
        return {}
    scores = probabilities[:, 1] if len(labels) == 2 else probabilities
    return {"roc_auc": float(_sklearn_metrics().roc_auc_score(truth, scores, multi_class="ovr"))}
