"""Runs one trainer in a process of its own, and measures it and the machine meanwhile."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.training.arms import ROOT, Arm
from worker.training.__main__ import TORCH_ENVIRONMENT

MEGABYTE = 1e6
# Linux counts in kilobytes, macOS in bytes.
PEAK_MEMORY_UNIT = 1024 if sys.platform == "linux" else 1


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of one trainer."""

    result: dict[str, Any]
    # Of the whole process: by the clock, and processor time of all threads.
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: int
    # Cores that other processes kept busy on average.
    other_cores: float

    @property
    def seconds(self) -> float:
        """Seconds of training alone, without start, first step included."""
        return float(self.result["seconds"])


def run_turn(arm: Arm, task: Path, out: Path) -> Turn:
    """Run to the end. Raises SystemExit with the end of its log if it fails."""
    out.mkdir(parents=True)
    environment = {**os.environ, **TORCH_ENVIRONMENT, "HF_HUB_OFFLINE": "1"}
    busy, started = _busy_seconds(), time.perf_counter()
    with (out / "log").open("wb") as log:
        process = subprocess.Popen(
            arm.command(task, out), cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall, busy = time.perf_counter() - started, _busy_seconds() - busy
    if process.returncode:
        raise SystemExit(f"{out / 'log'}:\n{(out / 'log').read_text()[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Turn(
        result=json.loads((out / "result.json").read_text()),
        wall_seconds=wall,
        cpu_seconds=cpu,
        peak_memory_mb=round(usage.ru_maxrss * PEAK_MEMORY_UNIT / MEGABYTE),
        other_cores=max(0.0, (busy - cpu) / wall),
    )


def _busy_seconds() -> float:
    """Processor time of all processes since the machine's start."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0)


def run_json(module: str, *arguments: str) -> Any:
    """Run one of our modules in a process of its own; return the JSON that it prints."""
    completed = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **TORCH_ENVIRONMENT},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(completed.stdout.splitlines()[-1])


def describe_machine() -> dict[str, Any]:
    """Describe the processor and the load before the first turn."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "date": time.strftime("%Y-%m-%d"),
    }
