"""TRL and Unsloth on the same GPU, model and rows as `bench.gpu`, each in its own environment.

The model has random weights, so it is written to a folder first, with a tokenizer that no trainer
uses: rows come tokenized. Peers that are neither in their own environment (`make bench-peers`, with
the GPU's build of torch) nor in this one are left out. As for our own steps, the first two are not
timed.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from app.recipes.chat import LORA_ALPHA, LORA_RANK
from bench.training.arms import ARMS, Arm
from bench.training.peers.task import Task, write_rows
from bench.training.tasks import row_to_json
from bench.training.turns import run_turn
from worker.modeling import add_adapter, save_adapter
from worker.training.batching import Row

WARM_UP_STEPS = 2
# Peers with the settings that are best for a GPU.
PEERS = ("trl", "trl-tuned", "trl-flat", "unsloth-tuned")
LEARNING_RATE = 1e-4
MAX_SHARD = "4GB"


def list_installed() -> dict[str, Arm]:
    """List the peers that are installed, in their own environments or in this one, by name."""
    installed = {}
    for name in PEERS:
        arm = ARMS["supervised"][name]
        packages = ["datasets", "trl", *(["unsloth"] if "unsloth" in arm.variant else [])]
        if arm.python.exists():
            installed[name] = arm
        elif all(map(find_spec, packages)):
            installed[name] = replace(arm, python=Path(sys.executable))
    return installed


class PeerTask:
    """The folder of a comparison on a model: weights, start and rows for all peers."""

    def __init__(self, folder: Path, task: Task, rows: Sequence[Row]) -> None:
        self._folder = folder
        self._task = task
        self._rows = rows

    @classmethod
    def write(
        cls, folder: Path, model: PreTrainedModel, rows: Sequence[Row], *, batch_size: int
    ) -> "PeerTask":
        """Write a model in its dtype, an adapter to start from, and rows in their order."""
        base = folder / "base"
        model.save_pretrained(base, max_shard_size=MAX_SHARD)
        make_tokenizer(model.config.vocab_size).save_pretrained(base)
        adapted = add_adapter(
            model, rank=LORA_RANK, alpha=LORA_ALPHA, base_model=str(base.resolve()), seed=0
        )
        (folder / "start").mkdir()
        save_adapter(adapted, folder / "start")
        write_rows(folder, [row_to_json(row) for row in rows])
        task = Task(
            method="supervised",
            model=str(base.resolve()),
            device=adapted.device.type,
            threads=4,
            batch_size=batch_size,
            learning_rate=LEARNING_RATE,
            seed=0,
            max_tokens=max(len(row.ids) for row in rows),
        )
        task.write(folder)
        return cls(folder, task, rows)

    def run(self, name: str, arm: Arm, out: Path) -> dict[str, Any]:
        """Train with a peer; return its fields."""
        result = run_turn(arm, self._folder, out).result
        timed = self._rows[WARM_UP_STEPS * self._task.batch_size :]
        seconds = result["step_ends"][-1] - result["step_ends"][WARM_UP_STEPS - 1]
        return {
            "arm": name,
            "tokens_per_second": round(sum(len(row.ids) for row in timed) / seconds),
            "peak_mb": result["peak_device_mb"],
            "losses": [round(loss, 4) for loss in result["losses"]],
            "versions": result["versions"],
        }


def measure_peers(
    model: PreTrainedModel, rows: Sequence[Row], *, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Train with each installed peer in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = PeerTask.write(folder, model, rows, batch_size=batch_size)
        # Its memory on the device is the peers' now.
        model.to("meta")  # type: ignore[arg-type]
        for peer, arm in list_installed().items():
            try:
                yield task.run(peer, arm, folder / peer)
            except SystemExit as error:
                yield {"arm": peer, "error": str(error)[-400:]}


def make_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Make a tokenizer of a vocabulary without meaning, which trainers ask for."""
    words = {f"w{number}": number for number in range(vocab_size)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="w0", eos_token="w1", pad_token="w2"
    )
