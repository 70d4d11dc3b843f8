"""Metrics of texts against the right answers: exact match, token F1, JSON fields, BLEU, chrF.

All are between 0 and 1, except BLEU and chrF, which are sacrebleu's, between 0 and 100.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sacrebleu import corpus_bleu, corpus_chrf

# Words, single characters of scripts that are written without spaces, and single other signs.
TOKEN = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+|[^\w\s]|_")
# Corpus metrics by name; computed on request.
CORPUS_METRICS = ("bleu", "chrf")


def compute_metrics(
    outputs: Sequence[str], references: Sequence[str], requested: Sequence[str] = ()
) -> dict[str, float]:
    """Compute the metrics of outputs; those of JSON only if a reference is a JSON object or list.

    `requested` are names of CORPUS_METRICS.
    """
    pairs = list(zip(outputs, references, strict=True))
    metrics = {
        "exact_match": _mean([float(output.strip() == right.strip()) for output, right in pairs]),
        "token_f1": _mean([token_f1(output, right) for output, right in pairs]),
    }
    json_pairs = [(output, value) for output, right in pairs if (value := _parse(right))]
    if json_pairs:
        metrics["json_rows"] = float(len(json_pairs))
        metrics["json_valid"] = _mean([float(_is_json(output)) for output, _ in json_pairs])
        metrics["json_field_match"] = _mean([field_match(*pair) for pair in json_pairs])
    for name in CORPUS_METRICS:
        if name in requested:
            metrics[name] = corpus_score(name, outputs, references)
    return metrics


def token_f1(output: str, reference: str) -> float:
    """F1 of the tokens that both texts have, each as often as in both; 1 for two empty texts."""
    first, second = (Counter(TOKEN.findall(text.casefold())) for text in (output, reference))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def field_match(output: str, reference: Any) -> float:
    """Share of the leaves of both JSON documents that have the same value at the same path."""
    try:
        actual = dict(_leaves(json.loads(output)))
    except (ValueError, RecursionError):
        return 0.0
    expected = dict(_leaves(reference))
    paths = actual.keys() | expected.keys()
    same = sum(
        path in actual and path in expected and _is_same(actual[path], expected[path])
        for path in paths
    )
    return same / len(paths) if paths else 1.0


def corpus_score(name: str, outputs: Sequence[str], references: Sequence[str]) -> float:
    """sacrebleu's corpus score, with its default tokenization."""
    score = corpus_bleu if name == "bleu" else corpus_chrf
    return float(score(list(outputs), [list(references)]).score)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the path and the value of everything that is no container, and of empty ones."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _is_same(first: Any, second: Any) -> bool:
    # True == 1 in Python, not in JSON.
    return isinstance(first, bool) == isinstance(second, bool) and bool(first == second)


def _parse(text: str) -> Any:
    """The JSON object or list that a text is; None for any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
