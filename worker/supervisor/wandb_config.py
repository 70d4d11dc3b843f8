"""Configuration of a Weights & Biases run, passed to its process as a JSON file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from worker.run_folder import atomic_write


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbRunConfig:
    """Settings and paths of one run.

    directory   the library's files
    ready_file  written once the run exists; contains its URL, if it has one
    ended_file  created by the supervisor when training has ended
    """

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
        """Read a configuration that `write` wrote."""
        return cls(**json.loads(path.read_bytes()))
