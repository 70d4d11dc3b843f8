"""Check that a chat model is served as it was trained, before its job succeeds.

Training computes log-probabilities of answers of the job's file with the chosen weights. Once it
has released its memory, the engine computes them from the stored adapter; both must agree.
"""

from worker.training.serving_check.check import check_as_served
from worker.training.serving_check.rows import CheckRow, select_rows
from worker.training.serving_check.trained import TrainedRows, measure_rows

__all__ = ["CheckRow", "TrainedRows", "check_as_served", "measure_rows", "select_rows"]
