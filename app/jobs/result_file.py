"""Result file of a job, `step_metrics.csv`: its metrics under OpenAI's column names."""

import csv
import io
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import JobMetric

# CSV column -> name of the step's metric.
COLUMNS = {
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}
# Metrics that OpenAI's file does not have.
EXCLUDED_METRICS = frozenset({"full_valid_loss", "full_valid_mean_token_accuracy"})


def render_step_metrics(session: Session, job_id: str) -> bytes:
    """Render the job's metrics as CSV: one row per step, with an empty cell for a missing value."""
    rows = session.execute(
        select(JobMetric.step, JobMetric.values)
        .where(JobMetric.job_id == job_id)
        .order_by(JobMetric.step)
    )
    return _render_csv([(row.step, row.values) for row in rows])


def _render_csv(rows: Sequence[tuple[int, Mapping[str, float]]]) -> bytes:
    columns = COLUMNS | _find_method_columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *columns])
    for step, values in rows:
        numbers = [values.get(name) for name in columns.values()]
        writer.writerow([step, *("" if n is None else _round(n) for n in numbers)])
    return text.getvalue().encode()


def _round(number: float) -> float:
    """Round to five decimals, or to five digits: a learning rate may be smaller."""
    return round(number, 5) if abs(number) >= 0.1 else float(f"{number:.5g}")


def _find_method_columns(rows: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, str]:
    """Find the columns of the method's own metrics, such as valid_f1 or train_reward_margin."""
    names = {name for _, values in rows for name in values}
    return {name: name for name in sorted(names - set(COLUMNS.values()) - EXCLUDED_METRICS)}
