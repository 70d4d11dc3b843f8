"""Criteria with several judges: none is asked twice when the item is tried again."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from app.db.tables import UsageKind
from app.evals import totals
from app.evals.criteria import MultiCriterion
from app.evals.criterion_run import Answers, CriterionRun
from app.evals.totals import Used
from app.graders.grading_task import GradingResult
from app.inference.unattended_requests import Answer
from app.work.kinds import ItemPostponed

MESSAGE = {"role": "user", "content": "How good is it?"}
JUDGE = {"type": "score_model", "model": "judge", "input": [MESSAGE]}
MULTI = {
    "type": "multi",
    "name": "both",
    "graders": {"a": {**JUDGE, "name": "a"}, "b": {**JUDGE, "name": "b"}},
    "calculate_output": "(a + b) / 2",
    "pass_threshold": 0.5,
}
COMPLETION = {
    "choices": [{"message": {"content": '{"result": 1}'}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


class Requests:
    """Answers all requests but the second, which is postponed."""

    def __init__(self) -> None:
        self.calls = 0

    async def answer(self, *_: Any) -> Answer:
        self.calls += 1
        if self.calls == 2:
            raise ItemPostponed
        return Answer(200, orjson.dumps(COMPLETION))


def test_a_judge_that_has_answered_is_not_asked_again() -> None:
    requests = Requests()
    context: Any = SimpleNamespace(
        run_id="evalrun_1",
        requests=requests,
        criteria=[MultiCriterion.model_validate(MULTI)],
        criterion_ids=["both-1"],
        judges={"judge": SimpleNamespace(name="judge")},
        encoder=None,
    )
    part = {"messages": [MESSAGE]}
    graded = GradingResult.model_validate({"results": {"0.a": part, "0.b": part}})
    answers = Answers(Counter())
    with pytest.raises(ItemPostponed):
        asyncio.run(CriterionRun(context, 0, 0, answers).judge(graded))
    key = totals.usage_key(Used.INVOCATIONS, UsageKind.COMPLETIONS, "judge")
    # What was used counts, also if the item never gets further.
    assert answers.used[key] == 1
    result = asyncio.run(CriterionRun(context, 0, 0, answers).judge(graded))
    assert (result["score"], result["passed"], len(result["sample"]["judges"])) == (1.0, True, 2)
    assert (requests.calls, answers.used[key]) == (3, 2)
