"""The run folder: the only interface between the supervisor and the training process.

    spec.json            the RunSpec; written by the supervisor before the start
    train.jsonl          the training file; valid.jsonl and test.jsonl are optional
    test_answers.jsonl   the answers to rows of test.jsonl of earlier attempts (optional)
    init/                the adapter that training continues from (optional)
    rows/                rendered rows of the files, written by training and kept for the job's next
                         attempt on this machine; it never depends on them
    events.jsonl         one JSON record per line, appended by training, tailed by the supervisor
    checkpoints/step-N/  complete once it exists: written to a partial folder, fsynced, renamed
    stop                 created by the supervisor: save a checkpoint after this step and exit 75

The training process has no other interface: no database, no queue, no object storage.
"""

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

from app.manifests import MANIFEST_FILE, ManifestEntry, file_sha256

# In the last checkpoint of an encoder job with a validation file.
EVALUATION_FILE = "evaluation.json"


class ExitCode(IntEnum):
    """Exit codes of the training process. Any other code is a crash."""

    DONE = 0
    USER_ERROR = 10
    OUT_OF_DEVICE_MEMORY = 11
    LOSS_NOT_FINITE = 12
    DISK_FULL = 13
    # The model does not fit into the memory that is free now.
    OUT_OF_HOST_MEMORY = 14
    # The loss rose to stay.
    DIVERGED = 15
    YIELDED = 75


class EvaluatedModel(StrEnum):
    """The models that a test file compares: the base model, and the one that was trained."""

    BASE = "base"
    TUNED = "tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One attempt at one job. The values of `hyperparameters` may be "auto"."""

    job_id: str
    # The job's fencing token: it rises each time a trainer acquires the job.
    attempt: int
    # The base model's entry in the catalog, from `CatalogModel.to_json`.
    model: dict[str, Any]
    # Folder of converted base models, shared by all runs.
    model_cache: str
    method: str
    hyperparameters: dict[str, Any]
    seed: int
    # Name recorded in the adapter's config as its base model.
    base_model: str
    # Checksums of the base model's files that the supervisor has computed; see model_cache.py.
    checksums: dict[str, tuple[float, str]] = field(default_factory=dict)
    # CPU threads; 0 means one per core.
    threads: int = 0
    # Processes that train together, each on a GPU of its own, or on a share of the threads.
    processes: int = 1
    # True if each of them keeps a share of the base model alone.
    sharded: bool = False
    # False if a GPU may use kernels that add in another order each time. A CPU never does.
    deterministic: bool = True
    # False if engines of this installation compute by torch alone.
    native_kernels: bool = True
    # True if products with frozen weights may be computed in int8.
    int8: bool = False
    # Maximum rows per forward pass, reduced after attempts that ran out of memory. The tokens per
    # pass are reduced in proportion.
    micro_batch: int | None = None
    # Metrics of the test file beside those that are always computed.
    test_metrics: list[str] = field(default_factory=list)
    # Time that chat templates show, the same in all attempts: ISO 8601. None is the present.
    rendered_at: str | None = None
    # False if an earlier attempt did not survive the comparison of the model with the engine.
    compare_with_engine: bool = True
    # The strongest adapter of each kind that the engine computes as training does; see
    # training/serving_check/stored.py.
    compared: dict[str, float] = field(default_factory=dict)


# Records of events.jsonl. `kind` is the class name in lower case.


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """Progress before the first step, in rows of the training file. Resets the stall watchdog."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The data is read and training begins. `hyperparameters` are resolved: none is "auto"."""

    hyperparameters: dict[str, Any]
    total_steps: int
    # Step this attempt resumes from; 0 without a checkpoint.
    from_step: int
    # Tokens of the training file after truncation, times epochs.
    trained_tokens: int
    # Sentences about the data that the job's owner should read.
    data_warnings: list[str] = field(default_factory=list)
    # Statistics that live traffic is compared with; see training/encoders/drift_baseline.py.
    drift_baseline: dict[str, Any] | None = None
    # True if earlier attempts had other rows: what they reported of later steps no longer holds.
    has_other_data: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics of one optimizer step.

    `values` has OpenAI's names (train_loss, train_mean_token_accuracy, valid_…, full_valid_…); DPO
    adds train_reward_accuracy and train_reward_margin, encoders their task's metrics.
    """

    step: int
    values: dict[str, float]
    # Seconds since this attempt's first step began, and tokens trained since then.
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A sentence for the job's owner. Those with the same key are shown once."""

    key: str
    message: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten:
    """checkpoints/step-N is complete. `servable` marks the end of an epoch."""

    step: int
    servable: bool
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The error because of which the process will exit with a code other than DONE or YIELDED."""

    code: str
    message: str
    param: str | None = None
    # With a learning rate that is too high: the last step before the loss rose.
    last_good_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestAnswer:
    """The answer of a model to a row of the test file, whose number counts from 1.

    `origin` is a digest of the weights and prompts that it was generated with.
    """

    # Not a class of tests.
    __test__ = False

    model: EvaluatedModel
    row: int
    text: str
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """All rows of the test file are answered. `report` is part of evaluation.json."""

    report: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonBegan:
    """The last checkpoint is written; the comparison of the model with the engine begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCompared:
    """The model was compared with the engine. `report` is part of evaluation.json.

    If both agree, `adapter_kind` and `strength` are those of training/serving_check/stored.py.
    """

    report: dict[str, Any]
    adapter_kind: str = ""
    strength: float = 0.0


Event = (
    Preparing
    | Started
    | Metrics
    | Noted
    | CheckpointWritten
    | Failed
    | TestAnswer
    | Evaluated
    | ComparisonBegan
    | EngineCompared
)
EVENT_TYPES: dict[str, type[Event]] = {
    cls.__name__.lower(): cls
    for cls in (
        Preparing,
        Started,
        Metrics,
        Noted,
        CheckpointWritten,
        Failed,
        TestAnswer,
        Evaluated,
        ComparisonBegan,
        EngineCompared,
    )
}


class UnsafeFile(Exception):
    """A training process has written something else than a file where a file must be."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run folder; reads and writes its spec and events."""

    path: Path
    # Of several processes that train together, one writes events and checkpoints.
    is_writer: bool = True

    @property
    def train_file(self) -> Path:
        return self.path / "train.jsonl"

    @property
    def valid_file(self) -> Path:
        return self.path / "valid.jsonl"

    @property
    def test_file(self) -> Path:
        return self.path / "test.jsonl"

    @property
    def test_answers(self) -> Path:
        return self.path / "test_answers.jsonl"

    @property
    def init_adapter(self) -> Path:
        return self.path / "init"

    @property
    def rows(self) -> Path:
        return self.path / "rows"

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
        """Append one record as a line of JSON, if this process writes."""
        if not self.is_writer:
            return
        line = json.dumps({"kind": type(event).__name__.lower(), **asdict(event)})
        with self.events.open("ab") as events:
            events.write(line.encode() + b"\n")

    def read_events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Yield records from byte `offset`, each with the offset after it, up to a partial line."""
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

    def write_test_answers(self, answers: Iterable[TestAnswer]) -> None:
        """Write the answers of earlier attempts."""
        lines = (json.dumps(asdict(answer)).encode() + b"\n" for answer in answers)
        atomic_write(self.test_answers, b"".join(lines))

    def read_test_answers(self, model: EvaluatedModel, origin: str) -> Iterator[TestAnswer]:
        """Yield the answers of this origin that a model gave in earlier attempts."""
        if self.test_answers.exists():
            for line in self.test_answers.read_bytes().splitlines():
                answer = TestAnswer(**json.loads(line))
                if (answer.model, answer.origin) == (model, origin):
                    yield answer

    @contextmanager
    def open_checkpoint_file(self, step: int, name: str) -> Iterator[Path]:
        """Yield a path to a file of a checkpoint that stays the same file while the block runs.

        Training could replace the file by a link to one that only the supervisor can read. Raises
        UnsafeFile.
        """
        folder = os.open(self.checkpoint(step), os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if name != Path(name).name:
                raise UnsafeFile(f"{name!r} is not the name of a file")
            # Without waiting, should it be a pipe.
            descriptor = os.open(name, os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnsafeFile(f"{name!r} is not a regular file")
            is_linux = sys.platform == "linux"
            yield Path(f"/proc/self/fd/{descriptor}") if is_linux else self.checkpoint(step) / name
        finally:
            os.close(descriptor)

    def list_checkpoint_steps(self) -> list[int]:
        """List the steps of the complete checkpoints in this folder, latest first."""
        manifests = self.checkpoints.glob(f"step-*/{MANIFEST_FILE}")
        steps = (int(path.parent.name.removeprefix("step-")) for path in manifests)
        return sorted(steps, reverse=True)


def write_manifest(folder: Path) -> None:
    """Write the manifest of a checkpoint's folder: `{"files": {name: {"bytes": …, "sha256": …}}}`.

    It is written last: a folder without a manifest is not a checkpoint.
    """
    files = {
        path.name: asdict(ManifestEntry(path.stat().st_size, file_sha256(path)))
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST_FILE
    }
    atomic_write(folder / MANIFEST_FILE, json.dumps({"files": files}).encode())


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file so that it exists completely or not at all, even after a power failure."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Make the entries of a folder durable against a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
