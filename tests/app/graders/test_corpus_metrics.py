"""Metrics of many texts together, against scikit-learn and sacrebleu."""

import pytest
from sacrebleu import corpus_bleu, corpus_chrf, sentence_chrf
from sklearn.metrics import f1_score

from app.graders import corpus_metrics

EXPECTED = ["a", "a", "b", "c", "b", "a"]
PREDICTED = ["a", "b", "b", "a", "d", "a"]
OUTPUTS = ["the cat sat on the mat", "Hello there big world of text", "Das ist gut."]
REFERENCES = ["the cat is on the mat", "Hello big world of texts", "Es ist sehr gut."]


def test_labels() -> None:
    results = [
        corpus_metrics.compare_labels(f" {predicted}\n", expected, None)
        for predicted, expected in zip(PREDICTED, EXPECTED, strict=True)
    ]
    summary = corpus_metrics.summarize_labels(results)
    assert summary is not None
    assert summary["accuracy"] == 0.5
    macro = f1_score(EXPECTED, PREDICTED, average="macro", zero_division=0)
    assert summary["f1_macro"] == pytest.approx(macro, abs=1e-4)
    assert summary["per_label"]["a"] == {
        "precision": 0.6667,
        "recall": 0.6667,
        "f1": 0.6667,
        "support": 3,
    }
    assert list(summary["per_label"]) == ["a", "b", "c", "d"]


def test_what_is_no_label_is_an_error_of_the_right_one_only() -> None:
    results = [
        corpus_metrics.compare_labels(text, "a", ["a", "b"]) for text in ("a", "I think a", "b")
    ]
    assert [each["predicted"] for each in results] == ["a", None, "b"]
    summary = corpus_metrics.summarize_labels(results)
    assert summary is not None
    assert list(summary["per_label"]) == ["a", "b"]
    assert summary["per_label"]["a"]["recall"] == 0.3333


def test_translations_are_scored_as_one_corpus() -> None:
    total: dict[str, list[int]] = {}
    for output, reference in zip(OUTPUTS, REFERENCES, strict=True):
        reward, statistics = corpus_metrics.compare_translations(output, reference)
        assert reward == pytest.approx(sentence_chrf(output, [reference]).score / 100)
        total = corpus_metrics.sum_statistics(total, statistics)
    assert corpus_metrics.summarize_translations(total) == {
        "bleu": pytest.approx(corpus_bleu(OUTPUTS, [REFERENCES]).score, abs=1e-4),
        "chrf": pytest.approx(corpus_chrf(OUTPUTS, [REFERENCES]).score, abs=1e-4),
    }


def test_nothing_has_no_metrics() -> None:
    assert corpus_metrics.summarize_labels([]) is None
    assert corpus_metrics.summarize_translations({}) is None
