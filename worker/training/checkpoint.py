"""Checkpoints: everything an interrupted run needs to resume bit for bit.

    adapter_config.json, adapter_model.safetensors   the adapter, ready to be served
    optimizer.safetensors                            AdamW's moments; the last checkpoint needs none
    state.json                                       step, whether it is the last, RNG states,
                                                     environment fingerprint, resolved
                                                     hyperparameters, rows' digest
    losses.json                                      what divergence is judged by
    start.json                                       the loss before training, on some rows
    best.json, best.safetensors                      the best weights so far, with validation only
    reference.safetensors                            DPO's reference log-probabilities
    manifest.json                                    names, sizes, sha256; written last

The sampler's position is the step itself: the order of rows is a function of seed and step.
"""

import base64
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from app.logs import get_logger
from app.manifests import MANIFEST_FILE, file_sha256, read_manifest
from worker.run_folder import RunFolder, fsync_folder, write_manifest
from worker.training.best_weights import BestWeights
from worker.training.weights import TrainableWeights

log = get_logger(__name__)

STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpointer:
    """Writes and reads the checkpoints of one run."""

    folder: RunFolder
    weights: TrainableWeights
    optimizer: Optimizer
    fingerprint: dict[str, str]
    best_weights: BestWeights | None = None
    # Makes the additional files that every checkpoint of the method has.
    extra_files: Callable[[], Mapping[str, bytes]] = dict
    # The resolved hyperparameters, for whoever examines a checkpoint.
    recipe: Mapping[str, Any] = field(default_factory=dict)
    # Of the rendered rows; None for methods whose rows are not rendered.
    data_digest: str | None = None

    def write(
        self, step: int, more_files: Mapping[str, bytes] | None = None, *, is_last: bool = False
    ) -> None:
        """Write checkpoints/step-N atomically: to a partial folder, fsynced, then renamed.

        Of several processes that train together, one writes it. No step follows the last one, which
        is a third as large without the optimizer: its user waits for it.
        """
        if not self.folder.is_writer:
            return
        target = self.folder.checkpoint(step)
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.weights.save(partial)
        if self.best_weights is not None:
            self.best_weights.save(partial)
        for name, data in {**self.extra_files(), **(more_files or {})}.items():
            (partial / name).write_bytes(data)
        if not is_last:
            save_file(self._optimizer_tensors(), partial / OPTIMIZER_FILE)
        state = {**self._trainer_state(step), "is_last": is_last}
        (partial / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        for path in partial.iterdir():
            _fsync(path)
        write_manifest(partial)
        # The target exists only if this attempt found it damaged.
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        fsync_folder(target.parent)

    def resume(self) -> int:
        """Restore the latest complete checkpoint; return its step, or 0 if there is none."""
        latest = self._find_latest_step()
        if latest is None:
            return 0
        self._restore(self.folder.checkpoint(latest))
        return latest

    def discard_other_data(self) -> bool:
        """Discard the checkpoints if they were trained on other rows than this run's.

        The steps of such a checkpoint would stand for other rows. Checkpoints of earlier versions
        have no digest and are trusted.
        """
        latest = self.find_latest()
        if latest is None or self.data_digest is None:
            return False
        state = json.loads((latest / STATE_FILE).read_bytes())
        if state.get("data", self.data_digest) == self.data_digest:
            return False
        for step in self.folder.list_checkpoint_steps():
            shutil.rmtree(self.folder.checkpoint(step))
        log.warning("checkpoint.other_data", step=state["step"])
        return True

    def find_latest(self) -> Path | None:
        """Folder of the latest complete checkpoint."""
        step = self._find_latest_step()
        return None if step is None else self.folder.checkpoint(step)

    def _find_latest_step(self) -> int | None:
        for step in self.folder.list_checkpoint_steps():
            if _is_complete(self.folder.checkpoint(step)):
                return step
            log.warning("checkpoint.damaged", step=step)
        return None

    def _restore(self, target: Path) -> None:
        self.weights.load(target)
        if self.best_weights is not None:
            self.best_weights.load(target)
        state = json.loads((target / STATE_FILE).read_bytes())
        if not state.get("is_last", False):
            self._load_optimizer_tensors(load_file(target / OPTIMIZER_FILE))
        torch.set_rng_state(_decode_rng_state(state["random"]["cpu"]))
        if torch.cuda.is_available() and "cuda" in state["random"]:
            torch.cuda.set_rng_state(_decode_rng_state(state["random"]["cuda"]))
        if state["environment"] != self.fingerprint:
            log.warning(
                "checkpoint.other_environment", was=state["environment"], now=self.fingerprint
            )

    def _trainer_state(self, step: int) -> dict[str, Any]:
        random = {"cpu": _encode_rng_state(torch.get_rng_state())}
        if torch.cuda.is_available():
            random["cuda"] = _encode_rng_state(torch.cuda.get_rng_state())
        return {
            "version": 1,
            "step": step,
            "random": random,
            "environment": self.fingerprint,
            "recipe": dict(self.recipe),
            **({} if self.data_digest is None else {"data": self.data_digest}),
        }

    def _optimizer_tensors(self) -> dict[str, torch.Tensor]:
        return {
            f"{key}/{name}": value.cpu()
            for name, parameter in self.weights.parameters().items()
            for key, value in self.optimizer.state[parameter].items()
        }

    def _load_optimizer_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        parameters = self.weights.parameters()
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            parameter = parameters[name]
            self.optimizer.state[parameter][kind] = value.to(parameter.device)


def _is_complete(target: Path) -> bool:
    """True if every file in the manifest exists with the listed checksum."""
    manifest = read_manifest((target / MANIFEST_FILE).read_bytes())
    return all(
        (target / name).is_file() and file_sha256(target / name) == file.sha256
        for name, file in manifest.items()
    )


def _encode_rng_state(random_state: torch.Tensor) -> str:
    return base64.b64encode(random_state.numpy().tobytes()).decode()


def _decode_rng_state(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
