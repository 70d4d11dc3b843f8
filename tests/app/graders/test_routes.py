"""/v1/fine_tuning/alpha/graders, as the SDK asks."""

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.graders import (
    LabelModelGraderParam,
    MultiGraderParam,
    ScoreModelGraderParam,
    StringCheckGraderParam,
)

from tests.live_server import FakeEngine

CHECK: StringCheckGraderParam = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}


def test_a_grader_is_repeated_and_run(openai: OpenAI) -> None:
    valid = openai.fine_tuning.alpha.graders.validate(grader=CHECK)
    assert valid.grader is not None
    assert valid.grader.model_dump() == CHECK
    found = openai.fine_tuning.alpha.graders.run(
        grader=CHECK, model_sample="Paris", item={"answer": "Paris"}
    )
    assert (found.reward, found.metadata.name) == (1, "exact")


def test_several_graders_are_repeated_as_they_came(openai: OpenAI) -> None:
    several: MultiGraderParam = {
        "type": "multi",
        "name": "both",
        "graders": CHECK,
        "calculate_output": "exact",
    }
    valid = openai.fine_tuning.alpha.graders.validate(grader=several)
    assert valid.grader is not None
    assert valid.grader.model_dump() == several


def test_labels_and_items_of_text(openai: OpenAI) -> None:
    label: LabelModelGraderParam = {
        "type": "label_model",
        "name": "tone",
        "model": "base",
        "input": [
            {"role": "user", "content": {"type": "input_text", "text": "Hello"}},
            {"role": "user", "content": [{"type": "output_text", "text": "{{sample.choices}}"}]},
        ],
        "labels": ["kind", "rude"],
        "passing_labels": ["kind"],
    }
    several: MultiGraderParam = {
        "type": "multi",
        "name": "all",
        "graders": label,
        "calculate_output": "tone",
    }
    valid = openai.fine_tuning.alpha.graders.validate(grader=several)
    assert valid.grader is not None
    assert valid.grader.model_dump(exclude_unset=True) == several
    with pytest.raises(BadRequestError) as refused:
        openai.post(
            "/fine_tuning/alpha/graders/run",
            body={"grader": label, "model_sample": "Hi"},
            cast_to=object,
        )
    assert refused.value.param == "grader.type", "alone it has no place in OpenAI's types"


def test_what_cannot_be_run_is_refused(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="does not run clients' programs"):
        openai.fine_tuning.alpha.graders.validate(
            grader={"type": "python", "name": "p", "source": "def grade(sample, item): ..."}
        )


def test_a_judge_that_nobody_knows(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError) as refused:
        openai.fine_tuning.alpha.graders.run(
            grader={
                "type": "score_model",
                "name": "judge",
                "model": "nobody",
                "input": [{"role": "user", "content": "{{sample.output_text}}"}],
            },
            model_sample="Paris",
        )
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("exact +", "it is no formula: invalid syntax"),
        ("exact + fuzzy", "there is no grader 'fuzzy'"),
        ("exact / 0 + fuzzy", "there is no grader 'fuzzy'"),
        ("min(exact)", "min does not take 1 arguments"),
        ("exact.real", "'exact.real' cannot be part of it"),
        ("(" * 900, "it is no formula: too many nested parentheses"),
        ("9" * 400, "int too large to convert to float"),
    ],
)
def test_a_formula_that_never_has_a_value(openai: OpenAI, formula: str, said: str) -> None:
    several: MultiGraderParam = {
        "type": "multi",
        "name": "both",
        "graders": CHECK,
        "calculate_output": formula,
    }
    with pytest.raises(BadRequestError) as refused:
        openai.fine_tuning.alpha.graders.validate(grader=several)
    assert refused.value.param == "grader.calculate_output"
    assert f"Invalid 'grader.calculate_output': {said}. It computes with" in refused.value.message
    assert "and with these graders: exact." in refused.value.message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("200 no JSON", "an answer that cannot be read"),
        ("200 []", "an answer that cannot be read"),
        ('200 {"choices": [], "usage": {"total_tokens": 1}}', "an answer that cannot be read"),
        ('200 {"choices": [{"message": {"content": [1]}}]}', "an answer that cannot be read"),
        ("302 elsewhere", "an answer that cannot be read"),
        ('400 {"error": {"code": 400}}', "an answer that cannot be read"),
        ('400 {"error": {"message": "Too long.", "code": 400}}', "Too long."),
        ("500 oops", "does not answer just now"),
    ],
)
def test_a_judge_whose_engine_says_anything(
    openai: OpenAI, engine: FakeEngine, answer: str, said: str
) -> None:
    judge: ScoreModelGraderParam = {
        "type": "score_model",
        "name": "judge",
        "model": "base",
        "input": [{"role": "user", "content": f"answer {answer}"}],
    }
    found = openai.fine_tuning.alpha.graders.run(grader=judge, model_sample="Paris")
    assert found.reward == 0
    assert said in str(found.metadata.errors.api_model_grader_server_error_details)
    (asked,) = engine.bodies
    assert asked["max_completion_tokens"] == 512, "a judge that nobody stops fills its context"
