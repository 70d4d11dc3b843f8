"""Graders of each type, as OpenAI documents them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.graders.grading_task import GradingRequest, GradingResult, run_grading_task
from app.graders.runner import EmbeddedTexts, JudgeResponse, JudgeUnavailable, run
from app.graders.schemas import Grader, GraderRun, ModelGrader, ModelMessage

pytestmark = pytest.mark.anyio

ITEM = {"answer": "Paris"}
CHECK: dict[str, Any] = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
JUDGE: dict[str, Any] = {
    "type": "score_model",
    "name": "judge",
    "model": "m",
    "input": [{"role": "user", "content": "Is {{sample.output_text}} right?"}],
    "range": [0, 10],
}
LABEL: dict[str, Any] = {
    "type": "label_model",
    "name": "tone",
    "model": "m",
    "input": [{"role": "user", "content": "How is {{sample.output_text}}?"}],
    "labels": ["kind", "cold", "rude"],
    "passing_labels": ["kind", "cold"],
}
# Valid only inside a multi grader, as in OpenAI's types.
LABELS = {"type": "multi", "name": "all", "graders": LABEL, "calculate_output": "tone"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def grader(fields: dict[str, Any]) -> Grader:
    adapter: TypeAdapter[Grader] = TypeAdapter(Grader)
    return adapter.validate_python(fields)


async def unavailable_judge(_grader: ModelGrader, _messages: list[ModelMessage]) -> JudgeResponse:
    raise JudgeUnavailable("the model is unavailable")


async def run_in_place(request: GradingRequest) -> GradingResult:
    result = run_grading_task(request.model_dump_json().encode())
    return GradingResult.model_validate_json(result)


async def run_without_judge(fields: dict[str, Any], sample: str) -> GraderRun:
    return await run(grader(fields), sample, ITEM, unavailable_judge, run_in_place)


class TestRun:
    @pytest.mark.parametrize(
        ("operation", "sample", "expected"),
        [
            ("eq", "Paris", 1),
            ("eq", "paris", 0),
            ("ne", "Rome", 1),
            ("neq", "Rome", 1),
            ("neq", "Paris", 0),
            ("like", "It is Paris.", 1),
            ("like", "It is paris.", 0),
            ("ilike", "It is PARIS.", 1),
        ],
    )
    async def test_string_checks(self, operation: str, sample: str, expected: float) -> None:
        result = await run_without_judge({**CHECK, "operation": operation}, sample)
        assert result.reward == expected
        assert result.metadata.scores == {"exact": expected}
        assert result.metadata.errors.model_dump(exclude_defaults=True) == {}

    async def test_text_similarity(self) -> None:
        fields = {**CHECK, "type": "text_similarity", "evaluation_metric": "fuzzy_match"}
        del fields["operation"]
        assert (await run_without_judge(fields, "Paris")).reward == 1
        assert 0.5 < (await run_without_judge(fields, "Parish")).reward < 1
        assert (await run_without_judge(fields, "xyz")).reward == 0

    async def test_unknown_variable_gives_no_reward(self) -> None:
        result = await run_without_judge({**CHECK, "reference": "{{item.nothing}}"}, "Paris")
        assert result.reward == 0
        assert result.metadata.errors.invalid_variable_error

    async def test_multi_grader(self) -> None:
        parts = {"exact": CHECK, "there": {**CHECK, "name": "there", "operation": "like"}}
        fields = {"type": "multi", "name": "both", "graders": parts}
        result = await run_without_judge(
            {**fields, "calculate_output": "exact + there / 2"}, "In Paris"
        )
        assert (result.reward, result.sub_rewards) == (0.5, {"exact": 0, "there": 1})
        broken = await run_without_judge({**fields, "calculate_output": "exact + other"}, "Paris")
        assert broken.metadata.errors.model_dump(exclude_defaults=True) == {
            "formula_parse_error": True,
            "formula_parse_error_details": "there is no grader 'other'",
        }
        listed = [CHECK, {**CHECK, "name": "there", "operation": "like"}]
        result = await run_without_judge(
            {**fields, "graders": listed, "calculate_output": "exact + there / 2"}, "In Paris"
        )
        assert result.reward == 0.5
        alone = await run_without_judge(
            {**fields, "graders": CHECK, "calculate_output": "exact"}, "Paris"
        )
        assert alone.reward == 1

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ('{"steps": [], "result": 7}', 7),
            ('Sure:\n```json\n{"result": 70.5}\n```', 10),
            ('{"result": -3}', 0),
            ('{"result": 1e308}', 10),
        ],
    )
    async def test_a39_score_model(self, answer: str, expected: float) -> None:
        prompt: list[ModelMessage] = []

        async def judge(_grader: ModelGrader, messages: list[ModelMessage]) -> JudgeResponse:
            prompt.extend(messages)
            return JudgeResponse(answer, 42)

        result = await run(grader(JUDGE), "Paris", ITEM, judge, run_in_place)
        assert result.reward == expected
        assert prompt[0].content == "Is Paris right?"
        assert result.model_grader_token_usage_per_model == {"m": 42}
        assert result.metadata.token_usage == 42

    @pytest.mark.parametrize(
        "content",
        [
            {"type": "input_text", "text": "Is {{sample.output_text}}?"},
            ["Is ", {"type": "output_text", "text": "{{sample.output_text}}"}, "?"],
        ],
    )
    async def test_judge_prompt_as_content_items(self, content: Any) -> None:
        prompt: list[ModelMessage] = []

        async def judge(_grader: ModelGrader, messages: list[ModelMessage]) -> JudgeResponse:
            prompt.extend(messages)
            return JudgeResponse('{"result": 1}', 1)

        fields = {**JUDGE, "input": [{"role": "user", "content": content}]}
        assert (await run(grader(fields), "Paris", ITEM, judge, run_in_place)).reward == 1
        assert prompt[0].content == "Is Paris?"

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [('{"result": "cold"}', 1), ('Well: {"result": "rude"}', 0), (" kind\n", 1)],
    )
    async def test_label_model(self, answer: str, expected: float) -> None:
        prompt: list[ModelMessage] = []

        async def judge(_grader: ModelGrader, messages: list[ModelMessage]) -> JudgeResponse:
            prompt.extend(messages)
            return JudgeResponse(answer, 3)

        result = await run(grader(LABELS), "Paris", ITEM, judge, run_in_place)
        assert (result.reward, result.sub_rewards) == (expected, {"tone": expected})
        assert result.model_grader_token_usage_per_model == {"m": 3}
        assert prompt[0].content == "How is Paris?"
        assert '"kind" or "cold" or "rude"' in prompt[1].content

    @pytest.mark.parametrize(
        "answer", ["friendly", '{"result": "friendly"}', '{"result": ["kind"]}']
    )
    async def test_a39_judge_without_a_valid_label(self, answer: str) -> None:
        async def judge(_grader: ModelGrader, _messages: list[ModelMessage]) -> JudgeResponse:
            return JudgeResponse(answer, 1)

        result = await run(grader(LABELS), "Paris", ITEM, judge, run_in_place)
        assert result.reward == 0
        assert result.metadata.errors.model_grader_parse_error

    @pytest.mark.parametrize(
        "answer",
        [
            "seven",
            '{"result": "7"}',
            '{"result": true}',
            "{",
            "[7]",
            '{"result": %s}' % ("9" * 400),
            '{"result": NaN}',
            '{"result": Infinity}',
            '{"result": null}',
            '{"result": [1]}',
            "[" * 10**5,
        ],
    )
    async def test_a39_judge_without_a_valid_number(self, answer: str) -> None:
        async def judge(_grader: ModelGrader, _messages: list[ModelMessage]) -> JudgeResponse:
            return JudgeResponse(answer, 1)

        result = await run(grader(JUDGE), "Paris", ITEM, judge, run_in_place)
        assert result.reward == 0
        assert result.metadata.errors.model_grader_parse_error

    async def test_judge_unavailable(self) -> None:
        errors = (await run_without_judge(JUDGE, "Paris")).metadata.errors
        assert errors.model_grader_server_error
        assert errors.model_grader_server_error_details == "the model is unavailable"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "python", "name": "p", "source": "x"}, "does not run clients' programs"),
        (
            {**CHECK, "type": "text_similarity", "evaluation_metric": "bleurt"},
            "'rouge_5' or 'rouge_l'",
        ),
        ({**JUDGE, "range": [1, 0]}, "must be below"),
        ({**CHECK, "operation": "near"}, "'eq', 'ne', 'neq', 'like'"),
        (LABEL, "expected tags"),
        ({**LABELS, "graders": {**LABEL, "passing_labels": ["warm"]}}, "must be one of 'labels'"),
        (
            {**JUDGE, "input": [{"role": "user", "content": {"type": "input_image"}}]},
            "judges read only text",
        ),
        (
            {**JUDGE, "input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "judges read only text",
        ),
        ({"type": "multi", "name": "m", "graders": {}, "calculate_output": "1"}, "at least 1"),
        ({"type": "other"}, "expected tags"),
    ],
)
def test_invalid_graders(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        grader(json.loads(json.dumps(fields)))


class TestCosine:
    """Cosine similarity of the vectors of an encoder."""

    GRADER = CHECK | {"type": "text_similarity", "evaluation_metric": "cosine"}

    async def grade(self, sample: str, vectors: list[list[float]]) -> GraderRun:
        async def embed(texts: Sequence[str]) -> EmbeddedTexts:
            assert texts == (sample, "Paris")
            return EmbeddedTexts("encoder", vectors, 5)

        fields = {name: value for name, value in self.GRADER.items() if name != "operation"}
        return await run(grader(fields), sample, ITEM, unavailable_judge, run_in_place, embed)

    async def test_it_is_that_of_the_vectors(self) -> None:
        result = await self.grade("Rome", [[3.0, 0.0], [4.0, 3.0]])
        assert result.reward == pytest.approx(0.8)
        assert result.model_grader_token_usage_per_model == {"encoder": 5}
        assert (await self.grade("Rome", [[0.0, 0.0], [4.0, 3.0]])).reward == 0

    async def test_an_empty_text_is_not_embedded(self) -> None:
        result = await self.grade("", [])
        assert (result.reward, result.metadata.token_usage) == (0, None)

    async def test_without_an_encoder_it_is_an_error(self) -> None:
        fields = {name: value for name, value in self.GRADER.items() if name != "operation"}
        errors = (await run_without_judge(fields, "Rome")).metadata.errors
        assert "No encoder" in (errors.model_grader_server_error_details or "")
