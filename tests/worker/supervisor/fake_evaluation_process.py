"""A fake evaluation process: it answers the rows of the test file, and injects faults.

`hyperparameters` control it: `evaluation` is `crash`, `stall`, or `wait` to be stopped after the
first row, in the first attempt; `retrained` to wait and then have other weights.
"""

import signal
import sys
import time
from pathlib import Path

from worker.run_folder import Evaluated, EvaluatedModel, ExitCode, RunFolder, TestAnswer


def main(folder: RunFolder) -> int:
    # Stopped by the file; the signal alone would kill it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    spec = folder.read_spec()
    fault = spec.hyperparameters.get("evaluation")
    rows = len(folder.test_file.read_bytes().splitlines())
    origin = f"weights of attempt {spec.attempt}" if fault == "retrained" else "weights"
    stored = folder.read_test_answers(EvaluatedModel.TUNED, origin)
    known = {answer.row: answer.text for answer in stored}
    for row in range(1, rows + 1):
        if row in known:
            continue
        known[row] = f"row {row} of attempt {spec.attempt}\0"
        folder.append_event(
            TestAnswer(model=EvaluatedModel.TUNED, row=row, text=known[row], origin=origin)
        )
        if fault == "crash":
            return 3
        while fault == "stall":
            time.sleep(0.01)
        while fault in ("wait", "retrained") and spec.attempt == 1:
            if folder.stop_file.exists():
                return ExitCode.YIELDED
            time.sleep(0.01)
    answers = [{"row": row, "tuned": text} for row, text in sorted(known.items())]
    metrics = {"exact_match": 0.25, "bleu": 31.5}
    report = {"rows": rows, "measured_rows": rows, "tuned": metrics, "answers": answers}
    folder.append_event(Evaluated(report=report))
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(int(main(RunFolder(Path(sys.argv[1])))))
