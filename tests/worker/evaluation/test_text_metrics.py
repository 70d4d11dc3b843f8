"""Metrics of texts: values by hand, and sacrebleu's own."""

import pytest
import sacrebleu

from worker.evaluation.text_metrics import compute_metrics, field_match, token_f1


@pytest.mark.parametrize(
    ("output", "reference", "f1"),
    [
        ("The cat sat.", "the cat sat.", 1.0),
        ("the cat", "the dog", 0.5),
        ("a a a b", "a b b", 4 / 7),
        ("", "", 1.0),
        ("", "word", 0.0),
        # One sign is one token where words are written without spaces.
        ("我在柏林", "我在巴黎", 0.5),
        ("don't", "dont", 0.0),
        ("x_1", "x 1", 0.8),
    ],
)
def test_token_f1(output: str, reference: str, f1: float) -> None:
    assert token_f1(output, reference) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("output", "share"),
    [
        ('{"a": {"b": 1}, "c": [2, 3]}', 1.0),
        ('{"c": [2, 3], "a": {"b": 1.0}}', 1.0),
        ('{"a": {"b": true}, "c": [2, 3]}', 2 / 3),
        ('{"a": {"b": 1}, "c": [2, 4]}', 2 / 3),
        # A field too many counts as a wrong one.
        ('{"a": {"b": 1}, "c": [2, 3], "d": null}', 3 / 4),
        ("[]", 0.0),
        ('{"a": ', 0.0),
        ("[" * 100_000, 0.0),
    ],
)
def test_field_match(output: str, share: float) -> None:
    assert field_match(output, {"a": {"b": 1}, "c": [2, 3]}) == pytest.approx(share)


def test_json_metrics_are_those_of_the_rows_with_json() -> None:
    metrics = compute_metrics(["{}", "no", '{"a": 1}'], ['{"a": 1}', "yes", '{"a": 1}'])
    assert metrics == {
        "exact_match": pytest.approx(1 / 3),
        "token_f1": pytest.approx((4 / 9 + 0 + 1) / 3, abs=0.05),
        "json_rows": 2.0,
        "json_valid": 1.0,
        "json_field_match": 0.5,
    }
    assert "json_valid" not in compute_metrics(["a", "7"], ["a", "7"])


def test_corpus_metrics_are_sacrebleus_and_only_on_request() -> None:
    outputs = ["The house is small.", "I see two dogs in the garden."]
    references = ["The house is little.", "I see two dogs in the park."]
    metrics = compute_metrics(outputs, references, ["bleu", "chrf"])
    assert metrics["bleu"] == sacrebleu.corpus_bleu(outputs, [references]).score
    assert metrics["chrf"] == sacrebleu.corpus_chrf(outputs, [references]).score
    assert 0 < metrics["bleu"] < 100
    assert "bleu" not in compute_metrics(outputs, references, ["chrf"])
