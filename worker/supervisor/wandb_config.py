"""What a run at Weights & Biases is to be, as the process that writes it is told."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from worker.rundir import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`ended` is a file that appears when no more will be reported; `ready` is made once the run
    is there, and holds its address, if it has one. `place` is where the library keeps its files."""

    run_folder: str
    place: str
    ready: str
    ended: str
    mode: str
    id: str
    project: str
    name: str
    entity: str | None
    tags: list[str]
    config: dict[str, Any]

    def write(self, path: Path) -> None:
        write_whole(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The inverse of `write`."""
        return cls(**json.loads(path.read_bytes()))
