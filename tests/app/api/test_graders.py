"""/v1/fine_tuning/alpha/graders, as the SDK asks."""

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.graders import MultiGraderParam, StringCheckGraderParam

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
