"""A training process that computes nothing, but whose "weights" prove what it did.

It reads and writes run folders as `python -m worker.training RUN_DIR` does, in a tenth of the time.
Each bit of its weights depends on every step having been made once, in order, on the right rows.

    python deterministic_trainer.py RUN_DIR [--undisturbed]

If the first message of the first row is `{"role": "system", "content": "trainer: {…}"}`, it holds
directives, which `--undisturbed` ignores:

step_seconds         duration of a step (0.05)
later_step_seconds   duration of a step after the first attempt (as in the first)
checkpoint_interval  steps between two checkpoints, in addition to those at the ends of epochs
checkpoint_seconds   duration of writing a checkpoint (0)
segfault_at          die of SIGSEGV before this step, in each attempt
hang_at              hang before this step and ignore SIGTERM, in the first attempt
exit_at              [step, code]: exit with this code before this step, in the first attempt
max_micro_batch      rows that fit in memory; with more, exit for memory before step `oom_at` (1)
ignore_stop          do not stop when told to
"""

import errno
import faulthandler
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from app.parent_death import die_with_parent
from worker.run_folder import (
    CheckpointWritten,
    ExitCode,
    Failed,
    Metrics,
    RunFolder,
    RunSpec,
    Started,
    fsync_folder,
    write_manifest,
)

DIRECTIVES_PREFIX = "trainer: "
WEIGHTS = "adapter_model.safetensors"
# Large enough to be cut off within a transfer.
WEIGHTS_BYTES = 64 * 2**10


class DeterministicTrainer:
    """One attempt at a job, in its run folder."""

    def __init__(self, folder: RunFolder, spec: RunSpec, *, undisturbed: bool = False) -> None:
        self.folder = folder
        self.spec = spec
        self.rows = folder.train_file.read_bytes().splitlines()
        self.directives = {"step_seconds": 0} if undisturbed else _read_directives(self.rows[0])
        seconds = self.directives.get("step_seconds", 0.05)
        if spec.attempt > 1:
            seconds = self.directives.get("later_step_seconds", seconds)
        self.step_seconds = seconds
        self.batch_size = _hyperparameter(spec, "batch_size", 4)
        self.epochs = _hyperparameter(spec, "n_epochs", 3)
        self.steps_per_epoch = -(-len(self.rows) // self.batch_size)
        self.total_steps = self.steps_per_epoch * self.epochs
        self.state = hashlib.sha256(str(spec.seed).encode()).digest()
        self.has_sigterm = False
        signal.signal(signal.SIGTERM, self._on_term)

    def run(self) -> ExitCode:
        done = self._resume()
        self._report_start(done)
        began = time.monotonic()
        for step in range(done + 1, self.total_steps + 1):
            self._inject_fault(step)
            self._train_step(step)
            values = {"train_loss": 1 / step, "train_mean_token_accuracy": step / self.total_steps}
            seconds = time.monotonic() - began
            self.folder.append_event(
                Metrics(step=step, values=values, seconds=seconds, tokens=step)
            )
            ends_epoch = step % self.steps_per_epoch == 0
            stopping = self._must_stop() and step < self.total_steps
            interval = self.directives.get("checkpoint_interval", step + 1)
            if ends_epoch or stopping or step % interval == 0:
                self._write_checkpoint(step)
                self.folder.append_event(
                    CheckpointWritten(step=step, servable=ends_epoch, values=values)
                )
            if stopping:
                return ExitCode.YIELDED
        return ExitCode.DONE

    def _report_start(self, done: int) -> None:
        chosen = {"n_epochs": self.epochs, "batch_size": self.batch_size}
        self.folder.append_event(
            Started(
                hyperparameters={**chosen, "learning_rate_multiplier": 1.0},
                total_steps=self.total_steps,
                from_step=done,
                trained_tokens=len(self.rows) * self.epochs,
            )
        )

    def _train_step(self, step: int) -> None:
        time.sleep(self.step_seconds)
        first = (step - 1) % self.steps_per_epoch * self.batch_size
        for row in self.rows[first : first + self.batch_size]:
            self.state = hashlib.sha256(self.state + row).digest()

    def _inject_fault(self, step: int) -> None:
        directives, is_first_attempt = self.directives, self.spec.attempt == 1
        if step == directives.get("segfault_at"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if is_first_attempt and step == directives.get("hang_at"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            _sleep_forever()
        if is_first_attempt and step == directives.get("exit_at", [0])[0]:
            self._fail(directives["exit_at"][1])
        is_too_large = self._micro_batch() > directives.get("max_micro_batch", self.batch_size)
        if is_too_large and step == directives.get("oom_at", 1):
            self._fail(ExitCode.OUT_OF_DEVICE_MEMORY)

    def _micro_batch(self) -> int:
        return self.batch_size if self.spec.micro_batch is None else self.spec.micro_batch

    def _fail(self, code: int) -> None:
        self.folder.append_event(Failed(code="injected", message="Injected by a test."))
        sys.exit(code)

    def _must_stop(self) -> bool:
        if self.directives.get("ignore_stop"):
            return False
        return self.has_sigterm or self.folder.stop_file.exists()

    def _on_term(self, *_: object) -> None:
        self.has_sigterm = True

    def _write_checkpoint(self, step: int) -> None:
        checkpoint = self.folder.checkpoint(step)
        partial = checkpoint.with_name(f".{checkpoint.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / WEIGHTS).write_bytes(make_weights(self.state))
        (partial / "adapter_config.json").write_text("{}")
        (partial / "state.json").write_text(json.dumps({"step": step, "state": self.state.hex()}))
        time.sleep(self.directives.get("checkpoint_seconds", 0))
        write_manifest(partial)
        partial.rename(checkpoint)
        fsync_folder(checkpoint.parent)

    def _resume(self) -> int:
        for step in self.folder.list_checkpoint_steps():
            state = json.loads((self.folder.checkpoint(step) / "state.json").read_bytes())
            self.state = bytes.fromhex(state["state"])
            return step
        return 0


def make_weights(state: bytes) -> bytes:
    """Bytes that differ whenever the states do."""
    return hashlib.shake_256(state).digest(WEIGHTS_BYTES)


def _sleep_forever() -> None:
    while True:
        time.sleep(3600)


def _read_directives(row: bytes) -> dict[str, Any]:
    text = json.loads(row)["messages"][0]["content"]
    if not text.startswith(DIRECTIVES_PREFIX):
        return {}
    directives: dict[str, Any] = json.loads(text.removeprefix(DIRECTIVES_PREFIX))
    return directives


def _hyperparameter(spec: RunSpec, name: str, default: int) -> int:
    value = spec.hyperparameters.get(name, "auto")
    return default if value == "auto" else int(value)


def main(run_folder: Path, *options: str) -> int:
    faulthandler.enable()
    die_with_parent()
    folder = RunFolder(run_folder)
    try:
        return DeterministicTrainer(
            folder, folder.read_spec(), undisturbed="--undisturbed" in options
        ).run()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return ExitCode.DISK_FULL
        raise


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
