"""Values of the metrics as the reference libraries have computed them.

rouge-score 0.1.2, NLTK 3.10.4 with an empty WordNet, sacrebleu 2.6.0, rapidfuzz 3.14.6.
"""

from typing import Any, get_args

import pytest

from app.graders.grading_task import GradingRequest, grade
from app.graders.schemas import Metric
from app.graders.text_metrics import METRICS

MAT = ("the cat sat on the mat", "the cat is on the mat")
GUIDE = (
    "It is a guide to action which ensures that the military always obeys the commands of the "
    "party",
    "It is a guide to action that ensures that the military will forever heed Party commands",
)
SIGNS = ("It's 3.5 kg_net - yes, it is!", "it is 3 5 kg net yes")
STEMS = ("Running dogs were jumping!", "The dog runs and jumps.")

VALUES = [
    (
        MAT,
        {
            "fuzzy_match": 0.9302,
            "bleu": 0.3799,
            "gleu": 0.5,
            "meteor": 0.8067,
            "rouge_1": 0.8333,
            "rouge_2": 0.6,
            "rouge_3": 0.25,
            "rouge_4": 0.0,
            "rouge_5": 0.0,
            "rouge_l": 0.8333,
        },
    ),
    (
        GUIDE,
        {
            "fuzzy_match": 0.7514,
            "bleu": 0.4118,
            "gleu": 0.4394,
            "meteor": 0.6944,
            "rouge_1": 0.7059,
            "rouge_2": 0.5,
            "rouge_3": 0.4,
            "rouge_4": 0.2857,
            "rouge_5": 0.1538,
            "rouge_l": 0.6471,
        },
    ),
    (
        SIGNS,
        {
            "rouge_1": 0.875,
            "rouge_2": 0.7143,
            "rouge_3": 0.5,
            "rouge_4": 0.4,
            "rouge_5": 0.25,
            "rouge_l": 0.75,
        },
    ),
    (STEMS, {"meteor": 0.2542, "rouge_1": 0.0}),
]


@pytest.mark.parametrize(("texts", "expected"), VALUES)
def test_values_of_the_reference_libraries(
    texts: tuple[str, str], expected: dict[str, float]
) -> None:
    measured = {name: round(METRICS[name](*texts), 4) for name in expected}
    assert measured == expected


@pytest.mark.parametrize("name", sorted(METRICS))
def test_bounds(name: str) -> None:
    text = "the quick brown fox jumps over the lazy dog"
    assert METRICS[name](text, text) == pytest.approx(1, abs=0.01)
    assert METRICS[name](text, "") == METRICS[name]("", text) == 0


def test_words_of_other_languages_are_whole() -> None:
    assert METRICS["rouge_1"]("Die Größe der Städte", "Die Größe der Stadt") == 0.75


def test_every_metric_is_computed() -> None:
    assert METRICS.keys() | {"cosine"} == set(get_args(Metric))


def compare(metric: str, size: int) -> Any:
    grader = {
        "type": "text_similarity",
        "name": "alike",
        "input": "{{sample.output_text}}",
        "reference": "{{item.right}}",
        "evaluation_metric": metric,
    }
    request = GradingRequest.model_validate(
        {"graders": {"alike": grader}, "sample": "a " * size, "item": {"right": "b " * size}}
    )
    return grade(request)


@pytest.mark.parametrize("metric", ["fuzzy_match", "meteor", "rouge_l"])
def test_long_texts_are_not_compared_pairwise(metric: str) -> None:
    assert "1,073,741,824 pairs" in (compare(metric, 100_000).limit_error or "")


@pytest.mark.parametrize("metric", ["bleu", "gleu", "rouge_2"])
def test_other_metrics_take_long_texts(metric: str) -> None:
    result = compare(metric, 20_000)
    assert (result.limit_error, result.results["alike"].reward) == (None, 0)
