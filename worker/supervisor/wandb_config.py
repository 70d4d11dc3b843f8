"""What a run at Weights & Biases is to be, as the process that writes it is told."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from worker.rundir import atomic_write


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbRunConfig:
    """`ended` is a file that appears when no more will be reported; `ready` is made once the run
    is there, and holds its address, if it has one. `place` is where the library keeps its files."""

    run_folder: str
    directory: str
    ready_file: str
    ended_file: str
    mode: str
    id: str
    project: str
    name: str
    entity: str | None
    tags: list[str]
    config: dict[str, Any]

    def write(self, path: Path) -> None:
        atomic_write(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The inverse of `write`."""
        return cls(**json.loads(path.read_bytes()))
