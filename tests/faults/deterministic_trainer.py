"""A trainer that computes nothing: it speaks the run folder's language, and every bit of its
"weights" depends on each step having been made once, in order, on the right rows.

`python stepper.py RUN_DIR`, as `python -m worker.training RUN_DIR`, in a tenth of its time. If the
first message of the first row is `{"role": "system", "content": "stepper: {…}"}`, it tells how to
misbehave; with `--undisturbed` behind RUN_DIR nobody listens to that:

pace      seconds a step takes (0.05)
then      seconds a step takes after the first attempt (as in the first)
save_every  steps between two checkpoints, beside those at the ends of passes
segfault  die of SIGSEGV before this step, in each attempt
hang      stop for ever before this step, in the first attempt
exit      [step, code]: end with this code before this step, in the first attempt
fits      rows that fit in memory at once; above it, exit for memory before `fits_at` (1)
linger    seconds that writing a checkpoint takes
deaf      do not stop when asked to
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
from worker.rundir import (
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

MARK = "stepper: "
WEIGHTS = "adapter_model.safetensors"
# Enough for a broken transfer to break within it.
WEIGHTS_BYTES = 64 * 2**10


class Stepper:
    """One attempt in one run folder."""

    def __init__(self, folder: RunFolder, spec: RunSpec, *, undisturbed: bool = False) -> None:
        self.folder = folder
        self.spec = spec
        self.rows = folder.train_file.read_bytes().splitlines()
        self.orders = {"pace": 0} if undisturbed else _orders(self.rows[0])
        pace = self.orders.get("pace", 0.05)
        self.pace = pace if spec.attempt == 1 else self.orders.get("then", pace)
        self.batch = _number(spec, "batch_size", 4)
        self.passes = _number(spec, "n_epochs", 3)
        self.per_pass = -(-len(self.rows) // self.batch)
        self.total = self.per_pass * self.passes
        self.state = hashlib.sha256(str(spec.seed).encode()).digest()
        self.asked_to_stop = False
        signal.signal(signal.SIGTERM, self._on_term)

    def run(self) -> ExitCode:
        done = self._resume()
        self._announce(done)
        began = time.monotonic()
        for step in range(done + 1, self.total + 1):
            self._misbehave(step)
            self._step(step)
            values = {"train_loss": 1 / step, "train_mean_token_accuracy": step / self.total}
            seconds = time.monotonic() - began
            self.folder.append_event(
                Metrics(step=step, values=values, seconds=seconds, tokens=step)
            )
            ends_pass = step % self.per_pass == 0
            stopping = self._is_to_stop() and step < self.total
            if ends_pass or stopping or step % self.orders.get("save_every", step + 1) == 0:
                self._write(step)
                self.folder.append_event(
                    CheckpointWritten(step=step, servable=ends_pass, values=values)
                )
            if stopping:
                return ExitCode.YIELDED
        return ExitCode.DONE

    def _announce(self, done: int) -> None:
        chosen = {"n_epochs": self.passes, "batch_size": self.batch}
        self.folder.append_event(
            Started(
                hyperparameters={**chosen, "learning_rate_multiplier": 1.0},
                total_steps=self.total,
                from_step=done,
                trained_tokens=len(self.rows) * self.passes,
            )
        )

    def _step(self, step: int) -> None:
        time.sleep(self.pace)
        first = (step - 1) % self.per_pass * self.batch
        for row in self.rows[first : first + self.batch]:
            self.state = hashlib.sha256(self.state + row).digest()

    def _misbehave(self, step: int) -> None:
        orders, first = self.orders, self.spec.attempt == 1
        if step == orders.get("segfault"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if first and step == orders.get("hang"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            _sleep_for_ever()
        if first and step == orders.get("exit", [0])[0]:
            self._fail(orders["exit"][1])
        if self._rows_at_once() > orders.get("fits", self.batch) and step == orders.get(
            "fits_at", 1
        ):
            self._fail(ExitCode.OUT_OF_DEVICE_MEMORY)

    def _rows_at_once(self) -> int:
        return self.batch if self.spec.micro_batch is None else self.spec.micro_batch

    def _fail(self, code: int) -> None:
        self.folder.append_event(Failed(code="injected", message="The test asked for it."))
        sys.exit(code)

    def _is_to_stop(self) -> bool:
        if self.orders.get("deaf"):
            return False
        return self.asked_to_stop or self.folder.stop_file.exists()

    def _on_term(self, *_: object) -> None:
        self.asked_to_stop = True

    def _write(self, step: int) -> None:
        place = self.folder.checkpoint(step)
        aside = place.with_name(f".{place.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / WEIGHTS).write_bytes(weights(self.state))
        (aside / "adapter_config.json").write_text("{}")
        (aside / "state.json").write_text(json.dumps({"step": step, "state": self.state.hex()}))
        time.sleep(self.orders.get("linger", 0))
        write_manifest(aside)
        aside.rename(place)
        fsync_folder(place.parent)

    def _resume(self) -> int:
        for step in self.folder.list_checkpoint_steps():
            state = json.loads((self.folder.checkpoint(step) / "state.json").read_bytes())
            self.state = bytes.fromhex(state["state"])
            return step
        return 0


def weights(state: bytes) -> bytes:
    """Bytes that are as different as the states are."""
    return hashlib.shake_256(state).digest(WEIGHTS_BYTES)


def _sleep_for_ever() -> None:
    while True:
        time.sleep(3600)


def _orders(row: bytes) -> dict[str, Any]:
    text = json.loads(row)["messages"][0]["content"]
    orders: dict[str, Any] = json.loads(text.removeprefix(MARK)) if text.startswith(MARK) else {}
    return orders


def _number(spec: RunSpec, name: str, otherwise: int) -> int:
    value = spec.hyperparameters.get(name, "auto")
    return otherwise if value == "auto" else int(value)


def main(run_folder: Path, *how: str) -> int:
    faulthandler.enable()
    die_with_parent()
    folder = RunFolder(run_folder)
    try:
        return Stepper(folder, folder.read_spec(), undisturbed="--undisturbed" in how).run()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return ExitCode.DISK_FULL
        raise


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
