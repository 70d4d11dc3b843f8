"""Measures of tasks, by the libraries that people judge models with.

Each function gives the whole report for evaluation.json; `headline` picks the numbers for events.
"""

import collections
import re
import string
from collections.abc import Mapping, Sequence, Set
from itertools import chain
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, rankdata, spearmanr
from seqeval.metrics import classification_report as entity_report
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    f1_score,
    multilabel_confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)
from torch import Tensor

from worker.encoding.tags import OUTSIDE
from worker.training.encoders.rows import Array

PUNCTUATION = frozenset(string.punctuation)
# A confusion matrix of more labels than this is no reading matter, and megabytes of it.
MAX_CONFUSION_LABELS = 200
# Among so many nearest texts one of the same group is looked for.
RETRIEVAL_KS = (1, 5, 10)


def scalar_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The measures of a report, which are its floats."""
    return {name: value for name, value in report.items() if isinstance(value, float)}


def single_label_metrics(
    truth: Array, probabilities: Array, labels: Sequence[str]
) -> dict[str, Any]:
    """Of texts with one label each. truth [rows], probabilities [rows, labels]."""
    found = probabilities.argmax(1)
    places = np.arange(len(labels))
    report = {
        "accuracy": float(accuracy_score(truth, found)),
        **_averages(truth, found, np.union1d(truth, found)),
        "per_label": _per_label(truth, found, labels),
    }
    if len(labels) <= MAX_CONFUSION_LABELS:
        matrix = confusion_matrix(truth, found, labels=places)
        report["confusion_matrix"] = {"labels": list(labels), "rows": matrix.tolist()}
    return report | _roc_auc(truth, probabilities, labels)


def multi_label_metrics(
    truth: Array, probabilities: Array, labels: Sequence[str]
) -> dict[str, Any]:
    """Of texts with any number of labels. Both arrays are [rows, labels], truth of 0 and 1."""
    found = (probabilities >= 0.5).astype(int)
    there = np.flatnonzero(truth.any(0) | found.any(0))
    report = {
        "accuracy": float(accuracy_score(truth, found)),
        **_averages(truth, found, there if len(there) else np.arange(len(labels))),
        "per_label": _per_label(truth, found, labels),
        "confusion_matrix": {
            label: matrix.tolist()
            for label, matrix in zip(labels, multilabel_confusion_matrix(truth, found), strict=True)
        },
    }
    # The area is not defined for a label that all texts have, or none.
    mixed = (truth.min(0) == 0) & (truth.max(0) == 1)
    if mixed.any():
        report["roc_auc"] = float(roc_auc_score(truth[:, mixed], probabilities[:, mixed]))
    return report


def entity_metrics(truth: list[list[str]], found: list[list[str]]) -> dict[str, Any]:
    """Of BIO tags, by seqeval's definition: an entity counts if its borders and kind are right.

    Where nothing is an entity and none was found, averages over kinds are left out: seqeval's are
    NaN, which is no JSON.
    """
    words = list(zip(chain.from_iterable(truth), chain.from_iterable(found), strict=True))
    accuracy = sum(t == f for t, f in words) / max(1, len(words))
    if all(t == f == OUTSIDE for t, f in words):
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0, "accuracy": accuracy, "per_label": {}}
    raw = entity_report(truth, found, output_dict=True, zero_division=0)
    table = {name: {key: float(v) for key, v in row.items()} for name, row in raw.items()}
    micro, macro, weighted = (table.pop(f"{name} avg") for name in ("micro", "macro", "weighted"))
    return {
        "precision": micro["precision"],
        "recall": micro["recall"],
        "f1": micro["f1-score"],
        "f1_macro": macro["f1-score"],
        "f1_weighted": weighted["f1-score"],
        "accuracy": accuracy,
        "per_label": table,
    }


def answer_metrics(truth: Sequence[Sequence[str]], found: Sequence[str]) -> dict[str, Any]:
    """Exact match and F1, both from 0 to 1, as SQuAD's own script defines them.

    `truth` has all right answers of each question, none if there is no answer; "" is no answer.
    """
    pairs = list(zip(truth, found, strict=True))
    exact = [
        max(_normalize_answer(right) == _normalize_answer(text) for right in all_ or [""])
        for all_, text in pairs
    ]
    shared = [max(_token_f1(right, text) for right in all_ or [""]) for all_, text in pairs]
    return {"exact_match": float(np.mean(exact)), "f1": float(np.mean(shared))}


def _token_f1(right: str, found: str) -> float:
    ours, theirs = _normalize_answer(found).split(), _normalize_answer(right).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def _normalize_answer(text: str) -> str:
    """Lower case, without punctuation, articles and superfluous spaces (SQuAD's evaluate-v2.0)."""
    bare = "".join(char for char in text.lower() if char not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def nearest_neighbours(vectors: Tensor, count: int) -> Array:
    """The places of the nearest others, the nearest first [texts, count, or as many as there are].

    vectors [texts, width] of length 1. In pieces: the likeness of all to all may not fit.
    """
    found = []
    for start in range(0, len(vectors), 1024):
        likeness = vectors[start : start + 1024] @ vectors.T
        own = torch.arange(len(likeness), device=vectors.device)
        likeness[own, own + start] = -torch.inf
        found.append(likeness.topk(min(count, len(vectors) - 1)).indices)
    places: Array = torch.cat(found).cpu().numpy()
    return places


def indices_with_positive(groups: Sequence[Set[int]]) -> list[int]:
    """The places of those that share a group with another."""
    sizes = collections.Counter(chain.from_iterable(groups))
    return [place for place, own in enumerate(groups) if any(sizes[one] > 1 for one in own)]


def retrieval_metrics(nearest: Array, groups: Sequence[Set[int]]) -> dict[str, float]:
    """How often one of the nearest 1, 5, 10 of the other texts shares a group.

    nearest [texts, 10 or fewer] their places. A text that shares none with any is not asked for;
    {} if all are so.
    """
    asked = indices_with_positive(groups)
    if not asked:
        return {}
    hits = np.array(
        [[not groups[place].isdisjoint(groups[near]) for near in nearest[place]] for place in asked]
    )
    return {f"retrieval_at_{k}": float(hits[:, :k].any(1).mean()) for k in RETRIEVAL_KS}


def correlation_metrics(scores: Sequence[float], cosines: Array) -> dict[str, float]:
    """Rank and linear correlation; {} where one of both is the same for all rows."""
    if len(set(scores)) < 2 or len(np.unique(cosines)) < 2:
        return {}
    return {
        "spearman": float(spearmanr(scores, cosines).statistic),
        "pearson": float(pearsonr(scores, cosines).statistic),
    }


def rank_differences(scores: Sequence[float], cosines: Array) -> Array:
    """By how many places each row is ranked differently [rows]."""
    away: Array = np.abs(rankdata(scores) - rankdata(cosines))
    return away


def _averages(truth: Array, found: Array, labels: Array) -> dict[str, float]:
    """Of `labels`, which are those that rows have or are given. One that is in the training file
    alone would count as never found."""
    measures = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    return {
        f"{name}_{kind}": float(measure(truth, found, labels=labels, average=kind, zero_division=0))
        for name, measure in measures.items()
        for kind in ("micro", "macro", "weighted")
    }


def _per_label(truth: Array, found: Array, labels: Sequence[str]) -> dict[str, Any]:
    table = classification_report(
        truth,
        found,
        labels=np.arange(len(labels)),
        target_names=[str(place) for place in range(len(labels))],
        output_dict=True,
        zero_division=0,
    )
    return {
        label: {key: float(value) for key, value in table[str(place)].items()}
        for place, label in enumerate(labels)
    }


def _roc_auc(truth: Array, probabilities: Array, labels: Sequence[str]) -> dict[str, float]:
    # Defined only where each label occurs.
    if len(np.unique(truth)) < len(labels):
        return {}
    scores = probabilities[:, 1] if len(labels) == 2 else probabilities
    return {"roc_auc": float(roc_auc_score(truth, scores, multi_class="ovr"))}
