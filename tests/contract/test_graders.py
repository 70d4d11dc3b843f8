"""Graders through the official client, one of them a model of the live stack."""

from typing import Any

import pytest
from openai import OpenAI

from tests.contract.running_stack import BASE

pytestmark = pytest.mark.live

EXACT: dict[str, Any] = {
    "type": "string_check",
    "name": "exact",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
SIMILAR: dict[str, Any] = {
    "type": "text_similarity",
    "name": "similar",
    "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
JUDGE: dict[str, Any] = {
    "type": "score_model",
    "name": "judge",
    "model": BASE,
    "input": [{"role": "user", "content": "Score {{sample.output_text}} from 0 to 1."}],
    "range": [0, 1],
    "sampling_params": {"max_completions_tokens": 16, "temperature": 0},
}


@pytest.mark.parametrize("grader", [EXACT, SIMILAR, JUDGE], ids=lambda grader: grader["type"])
def test_validate_returns_the_grader(client: OpenAI, grader: dict[str, Any]) -> None:
    validated = client.fine_tuning.alpha.graders.validate(grader=grader)  # type: ignore[arg-type]
    assert validated.grader is not None
    assert validated.grader.name == grader["name"]


def test_a_multi_grader_computes_its_formula(client: OpenAI) -> None:
    multi = {
        "type": "multi",
        "name": "both",
        "graders": {"exact": EXACT, "similar": SIMILAR},
        "calculate_output": "(exact + similar) / 2",
    }
    run = client.fine_tuning.alpha.graders.run(
        grader=multi,  # type: ignore[arg-type]
        model_sample="four",
        item={"answer": "four"},
    )
    assert run.reward == 1
    assert run.sub_rewards == {"exact": 1, "similar": 1}


def test_a_model_grades(client: OpenAI) -> None:
    """SmolLM2 is no useful judge; the test only shows that it was called."""
    run = client.fine_tuning.alpha.graders.run(
        grader=JUDGE,  # type: ignore[arg-type]
        model_sample="four",
        item={},
    )
    assert run.metadata.token_usage or run.metadata.errors.model_grader_parse_error
