"""A fake training process: it implements the run folder's protocol and injects faults.

`hyperparameters` control it: `steps`, `pace` (seconds per step), and the `fault` to inject at step
`at_step`, in attempts up to number `until_attempt`. It prints its environment. Its weights are a
hash chain over seed and steps, so that a resumed run ends with the same bytes only if no step is
lost or repeated.
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from worker.run_folder import (
    CheckpointWritten,
    ComparisonBegan,
    EngineCompared,
    ExitCode,
    Failed,
    Metrics,
    RunFolder,
    RunSpec,
    Started,
    write_manifest,
)


def final_weights(seed: int, steps: int) -> bytes:
    """The weights of an undisturbed run."""
    state = str(seed).encode()
    for step in range(1, steps + 1):
        state = next_state(state, step)
    return state


def next_state(state: bytes, step: int) -> bytes:
    return hashlib.sha256(state + str(step).encode()).digest()


class FakeTraining:
    """Trains the hash chain in a run folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.spec: RunSpec = folder.read_spec()
        self.plan = self.spec.hyperparameters
        self.steps: int = self.plan.get("steps", 6)
        self.every: int = self.plan.get("every", 2)
        self.stop_requested = False
        signal.signal(signal.SIGTERM, self.request_stop)

    def request_stop(self, *_: object) -> None:
        self.stop_requested = True

    def keep_rows(self) -> None:
        """Add this attempt to what earlier ones have kept as rows."""
        path = self.folder.rows / "training_file.safetensors"
        kept = path.read_text() if path.exists() else ""
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{kept}{self.spec.attempt} ")

    def run(self) -> int:
        self.keep_rows()
        self.inject_fault(0)
        step, state = self.resume()
        tokens = 10 * len(self.folder.train_file.read_bytes().splitlines())
        numbers = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
        started = Started(
            hyperparameters=numbers, total_steps=self.steps, from_step=step, trained_tokens=tokens
        )
        self.folder.append_event(started)
        begun = time.monotonic()
        while step < self.steps:
            step += 1
            self.inject_fault(step)
            time.sleep(self.plan.get("pace", 0.0))
            state = next_state(state, step)
            loss = 4.0 / step
            values = {"train_loss": loss, "train_mean_token_accuracy": 1 - loss / 8}
            seconds = time.monotonic() - begun
            self.folder.append_event(
                Metrics(step=step, values=values, seconds=seconds, tokens=step)
            )
            if step % self.every == 0 or step == self.steps:
                self.save(step, state, servable=True)
            elif self.is_stop_requested():
                self.save(step, state, servable=False)
            if step < self.steps and self.is_stop_requested():
                return ExitCode.YIELDED
        self.folder.append_event(ComparisonBegan())
        self.inject_fault(self.steps + 1)
        assert self.spec.compared.items() >= self.plan.get("known", {}).items()
        report = {"metric": "mean_logprob", "tokens": 9}
        kind, strength = self.plan.get("kind", ""), self.plan.get("strength", 0.0)
        self.folder.append_event(
            EngineCompared(report=report, adapter_kind=kind, strength=strength)
        )
        return ExitCode.DONE

    def is_stop_requested(self) -> bool:
        return self.stop_requested or self.folder.stop_file.exists()

    def resume(self) -> tuple[int, bytes]:
        steps = self.folder.list_checkpoint_steps()
        if not steps and self.folder.init_adapter.exists():
            return 0, (self.folder.init_adapter / "adapter_model.safetensors").read_bytes()
        if not steps:
            return 0, str(self.spec.seed).encode()
        return steps[0], (self.folder.checkpoint(steps[0]) / "state.bin").read_bytes()

    def save(self, step: int, state: bytes, *, servable: bool) -> None:
        partial = self.folder.checkpoints / ".partial"
        partial.mkdir()
        (partial / "adapter_config.json").write_text("{}")
        (partial / "adapter_model.safetensors").write_bytes(state)
        (partial / "state.bin").write_bytes(state)
        write_manifest(partial)
        partial.rename(self.folder.checkpoint(step))
        self.folder.append_event(
            CheckpointWritten(step=step, servable=servable, values={"train_loss": 1})
        )

    def inject_fault(self, step: int) -> None:
        if step != self.plan.get("at_step") or self.spec.attempt > self.plan.get(
            "until_attempt", 99
        ):
            return
        fault = self.plan["fault"]
        if fault == "wait":
            while not self.is_stop_requested() and not (self.folder.path / "continue").exists():
                time.sleep(0.01)
            return
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "oom_kill":
            # As the kernel does, which counts such kills in this file.
            vmstat = Path(self.plan["vmstat"])
            kills = int(vmstat.read_text().split()[1])
            vmstat.write_text(f"oom_kill {kills + 1}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "ignore_sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(300)
        if fault == "user_error":
            failed = Failed(code="invalid_training_file", message="Bad.", param="training_file")
            self.folder.append_event(failed)
        sys.exit(int(ExitCode[fault.upper()]) if fault.upper() in ExitCode.__members__ else 3)


if __name__ == "__main__":
    print(sorted(os.environ), flush=True)  # noqa: T201  (a test reads it from the log)
    sys.exit(int(FakeTraining(RunFolder(Path(sys.argv[1]))).run()))
