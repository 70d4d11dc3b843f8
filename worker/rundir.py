"""The run folder: all that passes between the supervisor and the training process.

    spec.json            what to train; written by the supervisor before the start
    train.jsonl          the training file, valid.jsonl the validation file if there is one
    init/                the adapter a continued training starts from, if it does
    events.jsonl         appended by training, one record a line, read by the supervisor as it grows
    checkpoints/step-N/  whole once it is there: written aside, synced, then renamed into place
    stop                 put there by the supervisor: checkpoint at the next step and exit 75

Training knows nothing else: no database, no queue, no object storage.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

MANIFEST_FILE = "manifest.json"
# In the last checkpoint of a method that measures itself on the validation file.
EVALUATION_FILE = "evaluation.json"


class ExitCode(IntEnum):
    """What the training process's exit code says. Any other code is a crash."""

    DONE = 0
    USER_ERROR = 10
    OUT_OF_DEVICE_MEMORY = 11
    LOSS_NOT_FINITE = 12
    DISK_FULL = 13
    YIELDED = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One attempt at one job. `hyperparameters` hold numbers or "auto"."""

    job_id: str
    attempt: int
    # An entry of the catalogue, as `catalog.BaseModel.to_json` gives it.
    model: dict[str, Any]
    # Where converted base models are kept, shared by all runs.
    model_cache: str
    method: str
    hyperparameters: dict[str, Any]
    seed: int
    # The name that the adapter's config records as its base.
    base_model: str
    # Threads to compute with; 0 means one per core.
    threads: int = 0
    # Rows per forward pass at most; None leaves it to the recipe.
    micro_batch: int | None = None


# Records of events.jsonl. `kind` is the class's name in small letters.


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """A sign of life before the start: so many of the file's rows have been looked at."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Data is read and numbers are chosen. `hyperparameters` hold no "auto" any more."""

    hyperparameters: dict[str, Any]
    total_steps: int
    # Step this attempt continues from; 0 for a fresh start.
    from_step: int
    # Tokens of all passes over the training file, truncated ones not counted.
    trained_tokens: int
    # What the job's owner should look at, as sentences.
    data_warnings: list[str] = field(default_factory=list)
    # What live traffic is held against, of methods that are monitored; see encoders/reference.py.
    drift_baseline: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """One optimizer step. `values` are OpenAI's (train_loss, train_mean_token_accuracy, valid_…),
    and train_reward_accuracy, train_reward_margin and valid_… of preferences."""

    step: int
    values: dict[str, float]
    # Seconds since the attempt's first step began, and tokens trained in them.
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten:
    """checkpoints/step-N is whole. `servable` marks the end of a pass over the data."""

    step: int
    servable: bool
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why the process is about to end with an exit code other than DONE and YIELDED."""

    code: str
    message: str
    param: str | None = None


Event = Preparing | Started | Metrics | CheckpointWritten | Failed
EVENT_TYPES: dict[str, type[Event]] = {
    cls.__name__.lower(): cls for cls in (Preparing, Started, Metrics, CheckpointWritten, Failed)
}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run folder, and the reading and writing of its records."""

    path: Path

    @property
    def train_file(self) -> Path:
        return self.path / "train.jsonl"

    @property
    def valid_file(self) -> Path:
        return self.path / "valid.jsonl"

    @property
    def init_adapter(self) -> Path:
        return self.path / "init"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def stop_file(self) -> Path:
        return self.path / "stop"

    @property
    def log(self) -> Path:
        """Standard output and error of the training process."""
        return self.path / "training.log"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step}"

    def write_spec(self, spec: RunSpec) -> None:
        atomic_write(self.path / "spec.json", json.dumps(asdict(spec)).encode())

    def read_spec(self) -> RunSpec:
        return RunSpec(**json.loads((self.path / "spec.json").read_bytes()))

    def append_event(self, event: Event) -> None:
        """Add one record; the reader sees whole lines only."""
        line = json.dumps({"kind": type(event).__name__.lower(), **asdict(event)})
        with self.events.open("ab") as events:
            events.write(line.encode() + b"\n")

    def read_events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """The records from byte `offset` on, each with the offset behind it; a half line waits."""
        if not self.events.exists():
            return
        with self.events.open("rb") as events:
            events.seek(offset)
            for line in events:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                values = json.loads(line)
                yield EVENT_TYPES[values.pop("kind")](**values), offset

    def list_checkpoint_steps(self) -> list[int]:
        """Steps of the whole checkpoints here, newest first."""
        found = self.checkpoints.glob(f"step-*/{MANIFEST_FILE}")
        return sorted((int(path.parent.name.removeprefix("step-")) for path in found), reverse=True)


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A file as a manifest has it."""

    bytes: int
    sha256: str


def write_manifest(folder: Path) -> None:
    """List the files that are in a checkpoint's folder; the last thing written into it.

    `{"files": {name: {"bytes": …, "sha256": …}}}`. A folder without it is no checkpoint.
    """
    files = {
        path.name: asdict(ManifestEntry(path.stat().st_size, file_sha256(path)))
        for path in sorted(folder.iterdir())
    }
    atomic_write(folder / MANIFEST_FILE, json.dumps({"files": files}).encode())


def read_manifest(data: bytes) -> dict[str, ManifestEntry]:
    """The files that a manifest lists, by name."""
    return {name: ManifestEntry(**values) for name, values in json.loads(data)["files"].items()}


def file_sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file that is either there with all its bytes, after a power cut too, or not there."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
