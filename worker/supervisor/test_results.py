"""Results of a job's test file: from a process's events and evaluation.json to the job."""

import json
from typing import Any

from worker.run_folder import EngineCompared, Evaluated

# The key of the test file's report in evaluation.json.
TEST_KEY = "test"
# The key of the comparison with the engine.
ENGINE_KEY = "engine"
# The results of a job have the metrics, not the rows they were computed from.
ROW_KEYS = ("answers", "wrong")
MAX_RESULT_BYTES = 2**16


def add_report(
    evaluation: bytes | None, evaluated: Evaluated, compared: EngineCompared | None = None
) -> bytes:
    """Add the reports on the test file and the engine to the content of evaluation.json, if any."""
    content = _parse(evaluation)
    content[TEST_KEY] = evaluated.report
    if compared is not None:
        content[ENGINE_KEY] = compared.report
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def extract_results(evaluation: bytes | None) -> dict[str, Any] | None:
    """Extract the results of the test file from evaluation.json; None if it has none."""
    report = _parse(evaluation).get(TEST_KEY)
    if not isinstance(report, dict):
        return None
    results = {name: value for name, value in report.items() if name not in ROW_KEYS}
    if len(json.dumps(results)) > MAX_RESULT_BYTES:
        # Metrics of each of a thousand labels, for example, are in the file only.
        results = {name: value for name, value in results.items() if not _is_container(value)}
    return results


def _parse(evaluation: bytes | None) -> dict[str, Any]:
    """The content of evaluation.json, which a training process wrote; empty if it is none."""
    try:
        content = json.loads(evaluation or b"{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list)
