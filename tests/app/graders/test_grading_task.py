"""The CPU-heavy part of a grader run: its limits, and how its work grows."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.graders import grading_task
from app.graders.grading_task import MAX_COMPARED_PAIRS, GradingRequest, grade
from app.graders.schemas import SubGrader
from tests.growth import assert_linear

CHECK = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
SIMILARITY = {
    **CHECK,
    "type": "text_similarity",
    "evaluation_metric": "fuzzy_match",
}


def grade_one(grader: dict[str, Any], sample: str, answer: str) -> grading_task.GradingResult:
    adapter: TypeAdapter[SubGrader] = TypeAdapter(SubGrader)
    graders = {"g": adapter.validate_python(grader)}
    return grade(GradingRequest(graders=graders, sample=sample, item={"answer": answer}))


@pytest.mark.parametrize("operation", ["eq", "ne", "like", "ilike"])
@pytest.mark.parametrize(("text", "needle"), [("a", "ab"), ("ab", "ba"), ("aab", "aaab")])
def test_a47_string_checks_are_linear(operation: str, text: str, needle: str) -> None:
    def prepare(size: int) -> Callable[[], object]:
        sample, answer = text * size, needle * (size // 4) + "c"
        return lambda: grade_one({**CHECK, "operation": operation}, sample, answer)

    assert_linear(prepare, max_size=2**17)


def test_a47_similarity_is_linear_in_a_text_while_the_pairs_are_bounded() -> None:
    letters = random.Random(1)
    reference = "".join(chr(letters.randrange(0x400, 0x9000)) for _ in range(1000))

    def prepare(size: int) -> Callable[[], object]:
        sample = "".join(chr(letters.randrange(0x400, 0x9000)) for _ in range(size))
        return lambda: grade_one(SIMILARITY, sample, reference)

    assert_linear(prepare, max_size=2**18)


def test_a47_pairs_of_all_comparisons_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter: TypeAdapter[SubGrader] = TypeAdapter(SubGrader)
    grader = adapter.validate_python(SIMILARITY)
    monkeypatch.setattr(grading_task, "MAX_COMPARED_PAIRS", 75)

    def run(count: int) -> grading_task.GradingResult:
        graders = {str(number): grader for number in range(count)}
        return grade(GradingRequest(graders=graders, sample="Paris", item={"answer": "Rome!"}))

    assert run(3).limit_error is None
    assert "compares at most" in str(run(4).limit_error)
    assert run(4).results == {}


def test_a47_comparisons_at_the_limit_are_made() -> None:
    side = int(MAX_COMPARED_PAIRS**0.5)
    assert grade_one(SIMILARITY, "ab" * (side // 2), "ba" * (side // 2)).limit_error is None
    assert grade_one(SIMILARITY, "ab" * (side // 2) + "a", "b" * side).limit_error is not None
