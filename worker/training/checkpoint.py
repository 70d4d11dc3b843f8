"""Checkpoints: all that an interrupted training needs to end with the bits it would have had.

    adapter_config.json, adapter_model.safetensors   the adapter, ready to be served
    optimizer.safetensors                            AdamW's moments
    state.json                                       step, random state, environment
    best.safetensors                                 the best weights before this step, if any
    reference.safetensors                            what the starting model thinks of each pair
    manifest.json                                    names, sizes, sha256; written last

The place in the data is the step itself, since the order of rows is a function of seed and step.
"""

import base64
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from app.logs import get
from worker.rundir import MANIFEST, RunFolder, read_manifest, sha256, sync_folder, write_manifest
from worker.training.best_weights import Selection
from worker.training.weights import Weights

log = get(__name__)

STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Writes and reads the checkpoints of one run."""

    folder: RunFolder
    weights: Weights
    optimizer: Optimizer
    fingerprint: dict[str, str]
    selection: Selection | None = None
    # Files that every checkpoint of the method has.
    companions: Callable[[], Mapping[str, bytes]] = dict

    def write(self, step: int, extra: Mapping[str, bytes] | None = None) -> None:
        """Write checkpoints/step-N aside, sync it, rename it into place; `extra` files too."""
        place = self.folder.checkpoint(step)
        aside = place.with_name(f".{place.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        self.weights.save(aside)
        if self.selection is not None:
            self.selection.save(aside)
        for name, data in {**self.companions(), **(extra or {})}.items():
            (aside / name).write_bytes(data)
        save_file(self._optimizer_tensors(), aside / OPTIMIZER)
        (aside / STATE).write_text(json.dumps(self._state(step)), encoding="utf-8")
        for path in aside.iterdir():
            _sync(path)
        write_manifest(aside)
        # There only if it was found damaged when this attempt began.
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
        sync_folder(place.parent)

    def resume(self) -> int:
        """Take up the newest whole checkpoint; return its step, or 0 if there is none."""
        newest = self._newest_step()
        if newest is None:
            return 0
        self._take_up(self.folder.checkpoint(newest))
        return newest

    def newest(self) -> Path | None:
        """The folder of the newest whole checkpoint."""
        step = self._newest_step()
        return None if step is None else self.folder.checkpoint(step)

    def _newest_step(self) -> int | None:
        for step in self.folder.steps():
            if _is_whole(self.folder.checkpoint(step)):
                return step
            log.warning("checkpoint.damaged", step=step)
        return None

    def _take_up(self, place: Path) -> None:
        self.weights.load(place)
        if self.selection is not None:
            self.selection.load(place)
        self._put_optimizer_tensors(load_file(place / OPTIMIZER))
        state = json.loads((place / STATE).read_bytes())
        torch.set_rng_state(_from_text(state["random"]["cpu"]))
        if torch.cuda.is_available() and "cuda" in state["random"]:
            torch.cuda.set_rng_state(_from_text(state["random"]["cuda"]))
        if state["environment"] != self.fingerprint:
            log.warning(
                "checkpoint.other_environment", was=state["environment"], now=self.fingerprint
            )

    def _state(self, step: int) -> dict[str, Any]:
        random = {"cpu": _to_text(torch.get_rng_state())}
        if torch.cuda.is_available():
            random["cuda"] = _to_text(torch.cuda.get_rng_state())
        return {"version": 1, "step": step, "random": random, "environment": self.fingerprint}

    def _optimizer_tensors(self) -> dict[str, torch.Tensor]:
        return {
            f"{key}/{name}": value.cpu()
            for name, parameter in self.weights.parameters().items()
            for key, value in self.optimizer.state[parameter].items()
        }

    def _put_optimizer_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        parameters = self.weights.parameters()
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            parameter = parameters[name]
            self.optimizer.state[parameter][kind] = value.to(parameter.device)


def _is_whole(place: Path) -> bool:
    """Whether every file is there with the bytes that the manifest lists."""
    listed = read_manifest((place / MANIFEST).read_bytes())
    return all(
        (place / name).is_file() and sha256(place / name) == file.sha256
        for name, file in listed.items()
    )


def _to_text(random_state: torch.Tensor) -> str:
    return base64.b64encode(random_state.numpy().tobytes()).decode()


def _from_text(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
