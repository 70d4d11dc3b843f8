"""Task of a comparison: one folder for all trainers, which each reads in its own process.

task.json       model, learning rate, batch size and so on: the fields of `Task`
rows.jsonl      tokenized training rows in the order of the steps
start/          the adapter that all start from, in PEFT's format (chat models)
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """One pass over the rows, in batches of `batch_size`, with AdamW at a constant rate."""

    method: str
    model: str
    device: str
    threads: int
    batch_size: int
    learning_rate: float
    seed: int
    epochs: int = 1
    max_tokens: int = 1024
    beta: float = 0.1
    # Of encoders: the parameters that are trained, and the labels.
    trained: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Task":
        return cls(**json.loads((folder / "task.json").read_text()))

    def write(self, folder: Path) -> None:
        (folder / "task.json").write_text(json.dumps(asdict(self)))


def read_rows(folder: Path, name: str = "rows") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def write_rows(folder: Path, rows: list[dict[str, Any]], name: str = "rows") -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def time_call(call: Callable[[], Any]) -> float:
    """Call; return the seconds by the clock that it took."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def write_result(out: Path, **fields: Any) -> None:
    """Write the numbers of a finished turn."""
    (out / "result.json").write_text(json.dumps(fields))


def lower_priority() -> None:
    """Run as our training processes do, or a busy machine would slow us alone."""
    os.setpriority(os.PRIO_PROCESS, 0, 5)
