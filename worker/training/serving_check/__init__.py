"""Check that a chat model is served as it was trained, before its job succeeds.

Training computes log-probabilities of answers of the job's file with the chosen weights. Once it
has released its memory, the engine computes them from the stored adapter; both must agree. An
adapter like one that agreed in an earlier job is compared by its files alone (`stored.py`).
"""

from worker.training.serving_check.check import check_as_served
from worker.training.serving_check.rows import CheckRow, select_rows
from worker.training.serving_check.stored import StoredAdapter, check_stored
from worker.training.serving_check.trained import TrainedRows, measure_rows

__all__ = [
    "CheckRow",
    "StoredAdapter",
    "TrainedRows",
    "check_as_served",
    "check_stored",
    "measure_rows",
    "select_rows",
]
