"""Serializers of evals, their runs and output items: rows to wire objects."""

from collections.abc import Mapping

import orjson

from app.db.tables import Eval, EvalOutputItem, EvalRun
from app.evals import totals
from app.evals.run_schemas import EvalRunObject, OutputItemObject, RunError
from app.evals.schemas import EvalObject
from app.http.console_cookie import CONSOLE_PATH
from app.settings import Settings


def serialize_eval(row: Eval) -> EvalObject:
    return EvalObject.model_validate(
        {
            "id": row.id,
            "created_at": row.created_at,
            "name": row.name,
            "metadata": row.user_metadata,
            "data_source_config": row.data_source_config,
            "testing_criteria": row.testing_criteria,
        }
    )


def serialize_run(
    row: EvalRun, parent: Eval, sums: Mapping[str, int], settings: Settings
) -> EvalRunObject:
    return EvalRunObject(
        id=row.id,
        eval_id=row.eval_id,
        created_at=row.created_at,
        status=row.state,
        name=row.name,
        model=row.model,
        report_url=_build_report_url(row, settings),
        result_counts=totals.count_results(sums),
        per_model_usage=[usage for _, usage in totals.list_usage(sums)],
        per_testing_criteria_results=totals.list_criteria(
            sums,
            parent.testing_criteria,
            {} if row.metrics is None else orjson.loads(row.metrics),
        ),
        data_source=row.data_source,
        metadata=row.user_metadata,
        error=RunError(code=row.error_code or "", message=row.error_message or ""),
    )


def _build_report_url(row: EvalRun, settings: Settings) -> str:
    """The path of the console's page; without a console, that of the output items."""
    if not settings.console:
        return f"/v1/evals/{row.eval_id}/runs/{row.id}/output_items"
    page = f"{CONSOLE_PATH}/evaluations/evals/{row.eval_id}/runs/{row.id}"
    return settings.path_prefix + page


def serialize_item(row: EvalOutputItem, eval_id: str) -> OutputItemObject:
    content = orjson.loads(row.content)
    return OutputItemObject(
        id=row.id,
        run_id=row.run_id,
        eval_id=eval_id,
        created_at=row.created_at,
        status=row.status,
        datasource_item_id=row.index,
        datasource_item=content["item"],
        results=content["results"],
        sample=content["sample"],
    )
