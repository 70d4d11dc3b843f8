"""Ends of eval runs: one transaction has the state, the sums, the usage and the webhooks."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Eval, EvalOutputItem, EvalRun, EvalRunState, WorkStop
from app.evals import totals
from app.graders import corpus_metrics
from app.usage import ledger
from app.usage.ledger import UsageCounts, UsageKey
from app.webhooks import deliveries
from app.work import lists

STATES_BY_STOP = {
    None: EvalRunState.COMPLETED,
    WorkStop.CANCELLED: EvalRunState.CANCELED,
    WorkStop.EXPIRED: EvalRunState.FAILED,
    WorkStop.FAILED: EvalRunState.FAILED,
}
EVENTS = {
    EvalRunState.COMPLETED: "eval.run.succeeded",
    EvalRunState.FAILED: "eval.run.failed",
    EvalRunState.CANCELED: "eval.run.canceled",
}


def find_state(reason: WorkStop | None) -> EvalRunState:
    """Find the state in which a run ends, by the reason why it was stopped, if it was."""
    return STATES_BY_STOP[reason]


def end(
    session: Session,
    run: EvalRun,
    state: EvalRunState,
    *,
    error: tuple[str, str] | None = None,
    measure: bool = True,
) -> None:
    """End a locked run, whose list is locked too and is deleted. `error` is a code and a sentence.

    Without `measure`, there are no metrics of all items together.
    """
    run.totals = dict(totals.sum_ranges(session, [run.id])[run.id])
    run.metrics = orjson.dumps(_measure(session, run)) if measure else None
    run.state, run.ended_at = state, func.clock_timestamp()
    if error is not None:
        run.error_code, run.error_message = error
    session.flush()
    record_usage(session, run, run.totals)
    lists.delete_list(session, run.id)
    deliveries.enqueue(session, run.project_id, EVENTS[state], run.id, clock.now(session))


def record_usage(session: Session, run: EvalRun, sums: Mapping[str, int]) -> None:
    """Add what the models used to the project's usage, once: as a run ends, or is deleted before.

    The run's list is locked, and is deleted in the same transaction.
    """
    used = {
        UsageKey(
            run.project_id, run.api_key_id or "", each.model_name, kind, is_batch=True
        ): UsageCounts(
            each.invocation_count, each.prompt_tokens, each.cached_tokens, each.completion_tokens
        )
        for kind, each in totals.list_usage(sums)
    }
    ledger.record(session, used)


def _measure(session: Session, run: EvalRun) -> dict[str, Any]:
    """Compute the metrics of all items together, by the number of the criterion."""
    parent = session.get_one(Eval, run.eval_id)
    kinds = {number: each["type"] for number, each in enumerate(parent.testing_criteria)}
    labels: dict[int, list[Any]] = {n: [] for n, kind in kinds.items() if kind == "classification"}
    translations: dict[int, dict[str, Any]] = {
        n: {} for n, kind in kinds.items() if kind == "translation"
    }
    if not labels and not translations:
        return {}
    for details in _list_details(session, run):
        for number, of_label in labels.items():
            if details.get(number):
                of_label.append(details[number])
        for number, total in translations.items():
            if details.get(number):
                translations[number] = corpus_metrics.sum_statistics(total, details[number])
    summaries: dict[int, Any] = {
        n: corpus_metrics.summarize_labels(each) for n, each in labels.items()
    } | {n: corpus_metrics.summarize_translations(each) for n, each in translations.items()}
    return {str(n): summary for n, summary in summaries.items() if summary is not None}


def _list_details(session: Session, run: EvalRun) -> Iterator[dict[int, Any]]:
    """List what each item contributes, in order, by the number of the criterion."""
    statement = (
        select(EvalOutputItem.content)
        .where(EvalOutputItem.run_id == run.id)
        .order_by(EvalOutputItem.index)
        .execution_options(yield_per=20)
    )
    for content in session.scalars(statement):
        yield {n: each["sample"] for n, each in enumerate(orjson.loads(content)["results"])}
