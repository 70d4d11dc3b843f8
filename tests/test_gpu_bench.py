"""The GPU benchmark on the processor, with a tiny model: all of its measurements run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.training
def test_each_measurement_runs_and_is_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.gpu", "--shapes", "tiny", "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=500)
    (kept,) = tmp_path.glob("gpu-*.jsonl")
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert not [line for line in lines if "error" in line or "skipped" in line]
    measured = {line["measured"] for line in lines if "measured" in line}
    assert measured == {
        *("limits", "equality", "training", "processes", "peers", "serving", "batches")
    }
    (equality,) = (line for line in lines if "gradient_difference" in line)
    assert equality["gradient_difference"] < 1e-4
    arms = [line["arm"] for line in lines if line.get("measured") == "training" and "arm" in line]
    assert arms == ["luthier", "luthier, nf4", "transformers and peft"]
