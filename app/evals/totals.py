"""Sums of a run: what each item adds, and how they are read for the run's object."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import EvalRun, OutputItemStatus, UsageKind, WorkRange
from app.evals.run_schemas import CriterionResults, ModelUsage, ResultCounts

# Of all items, for the limit on what a run stores.
BYTES = "bytes"


class Used(StrEnum):
    """Sums of a model's usage."""

    INVOCATIONS = "invocations"
    PROMPT = "prompt"
    COMPLETION = "completion"
    CACHED = "cached"


def item_key(status: OutputItemStatus) -> str:
    return f"items:{status}"


def criterion_key(index: int, status: OutputItemStatus) -> str:
    return f"criterion:{index}:{status}"


def usage_key(used: Used, kind: UsageKind, model: str) -> str:
    """Key of what a model was used for, by its own name, not an alias."""
    return f"{used}:{kind}:{model}"


def sum_ranges(session: Session, run_ids: Sequence[str]) -> dict[str, Counter[str]]:
    """Sum what the items of runs that have not ended have given so far."""
    sums: dict[str, Counter[str]] = {run_id: Counter() for run_id in run_ids}
    if run_ids:
        rows = select(WorkRange.list_id, WorkRange.totals).where(WorkRange.list_id.in_(run_ids))
        for run_id, totals in session.execute(rows):
            sums[run_id].update(totals)
    return sums


def read(session: Session, runs: Iterable[EvalRun]) -> dict[str, Mapping[str, int]]:
    """Read the sums of runs, by id."""
    rows = list(runs)
    running = sum_ranges(session, [row.id for row in rows if row.totals is None])
    return {row.id: running[row.id] if row.totals is None else row.totals for row in rows}


def count_results(totals: Mapping[str, int]) -> ResultCounts:
    passed, failed, errored = (totals.get(item_key(status), 0) for status in OutputItemStatus)
    return ResultCounts(
        total=passed + failed + errored, passed=passed, failed=failed, errored=errored
    )


def list_usage(totals: Mapping[str, int]) -> list[tuple[UsageKind, ModelUsage]]:
    prefix = f"{Used.INVOCATIONS}:"
    names = sorted(key.removeprefix(prefix) for key in totals if key.startswith(prefix))
    models = ((UsageKind(kind), model) for kind, model in (name.split(":", 1) for name in names))
    return [(kind, _read_usage(totals, kind, model)) for kind, model in models]


def _read_usage(totals: Mapping[str, int], kind: UsageKind, model: str) -> ModelUsage:
    count, prompt, completion, cached = (
        totals.get(usage_key(used, kind, model), 0) for used in Used
    )
    return ModelUsage(
        model_name=model,
        invocation_count=count,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cached_tokens=cached,
    )


def list_criteria(
    totals: Mapping[str, int], criteria: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
) -> list[CriterionResults]:
    if not totals:
        return []
    results = []
    for index, criterion in enumerate(criteria):
        passed, failed, errored = (
            totals.get(criterion_key(index, status), 0) for status in OutputItemStatus
        )
        results.append(
            CriterionResults(
                testing_criteria=criterion["id"],
                passed=passed,
                failed=failed,
                errored=errored,
                metrics=metrics.get(str(index)),
            )
        )
    return results
