"""The trainers that are compared, by name: our job, and each peer with settings of its own."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OWN = Path(sys.executable)
TRL = ROOT / ".venv-trl/bin/python"
UNSLOTH = ROOT / ".venv-unsloth/bin/python"
TRL_MODULE = "bench.training.peers.trl"
TRAINER_MODULE = "bench.training.peers.hf_trainer"

# TRL with the weights in bfloat16 and without recomputing activations; its default settings hold
# float32 weights, compute in bfloat16 by autocast, and recompute.
TUNED = {"gradient_checkpointing": False, "bf16": False}


@dataclass(frozen=True, slots=True)
class Arm:
    """A trainer in an environment of its own; `variant` is for its module."""

    python: Path
    module: str
    variant: dict[str, Any] = field(default_factory=dict)

    def command(self, task: Path, out: Path) -> list[str]:
        return [
            str(self.python), "-m", self.module, str(task), str(out), json.dumps(self.variant),
        ]  # fmt: skip


def _trl(*, dtype: str = "bfloat16", **config: Any) -> Arm:
    return Arm(TRL, TRL_MODULE, {"dtype": dtype, "config": config})


def _unsloth(checkpointing: bool | str) -> Arm:
    config = {"gradient_checkpointing": False} if checkpointing is False else {}
    variant = {"unsloth": True, "checkpointing": checkpointing, "config": config}
    return Arm(UNSLOTH, TRL_MODULE, variant)


def _micro_batches(rows: int) -> dict[str, Any]:
    """Settings that split a batch of 8 rows into micro-batches."""
    return {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 8 // rows}


LUTHIER = Arm(OWN, "bench.training.luthier")
# LUTHIER_TRAINING_INT8
INT8 = Arm(OWN, "bench.training.luthier", {"int8": True})
ARMS: dict[str, dict[str, Arm]] = {
    "supervised": {
        "luthier": LUTHIER,
        "luthier-int8": INT8,
        "trl": _trl(dtype="float32"),
        "trl-tuned": _trl(**TUNED),
        "trl-autocast": _trl(gradient_checkpointing=False),
        "trl-micro-4": _trl(**TUNED, **_micro_batches(4)),
        "trl-micro-2": _trl(**TUNED, **_micro_batches(2)),
        "trl-micro-1": _trl(**TUNED, **_micro_batches(1)),
        # One row of all tokens of a batch, whose documents attend to themselves alone.
        "trl-flat": _trl(**TUNED, padding_free=True, max_length=None),
        "unsloth": _unsloth("unsloth"),
        "unsloth-tuned": _unsloth(False),
    },
    "dpo": {
        "luthier": LUTHIER,
        "luthier-int8": INT8,
        "trl": _trl(dtype="float32"),
        "trl-tuned": _trl(**TUNED, precompute_ref_log_probs=True),
        "trl-micro-4": _trl(**TUNED, precompute_ref_log_probs=True, **_micro_batches(4)),
        "trl-micro-2": _trl(**TUNED, precompute_ref_log_probs=True, **_micro_batches(2)),
        "trl-micro-1": _trl(**TUNED, precompute_ref_log_probs=True, **_micro_batches(1)),
    },
    "classification": {
        "luthier": LUTHIER,
        "trainer": Arm(OWN, TRAINER_MODULE),
        "trainer-bf16": Arm(OWN, TRAINER_MODULE, {"config": {"bf16": True}}),
    },
}
