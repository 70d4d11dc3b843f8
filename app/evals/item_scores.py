"""Scores of a run's items: stored beside their content, which takes up to 1 GiB to read."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import EvalOutputItem, OutputItemStatus
from app.evals.comparison import ItemResults
from app.evals.items import ITEM_GONE


def list_scores(content: Mapping[str, Any]) -> list[float | None]:
    """List the scores by the number of the criterion; of an item that was gone, none.

    A criterion with an error has none, and the others of an item with an error are left out.
    """
    if content["sample"]["error"]["code"] == ITEM_GONE:
        return []
    return [None if "error" in each else each["score"] for each in content["results"]] or [None]


def read(session: Session, run_id: str, criterion_ids: Sequence[str]) -> ItemResults:
    """Read what the items of a run gave, but for those that were gone."""
    results = ItemResults()
    items = select(EvalOutputItem.index, EvalOutputItem.status, EvalOutputItem.scores).where(
        EvalOutputItem.run_id == run_id
    )
    for index, status, scores in session.execute(items.execution_options(yield_per=1000)):
        if scores is not None:
            _add(results, criterion_ids, index, status, scores)
    # An older version wrote them without their scores.
    old = select(EvalOutputItem.index, EvalOutputItem.status, EvalOutputItem.content).where(
        EvalOutputItem.run_id == run_id, EvalOutputItem.scores.is_(None)
    )
    for index, status, content in session.execute(old.execution_options(yield_per=20)):
        _add(results, criterion_ids, index, status, list_scores(orjson.loads(content)))
    return results


def _add(
    results: ItemResults,
    criterion_ids: Sequence[str],
    index: int,
    status: OutputItemStatus,
    scores: Sequence[float | None],
) -> None:
    if not scores:
        return
    results.passed[index] = float(status == OutputItemStatus.PASS)
    for criterion_id, score in zip(criterion_ids, scores, strict=False):
        if score is not None:
            results.scores.setdefault(criterion_id, {})[index] = score
