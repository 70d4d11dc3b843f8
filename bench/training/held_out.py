"""Scores an adapter on held-out rows: transformers and PEFT in float32, the same for all trainers.

    python -m bench.training.held_out TASK_FOLDER ADAPTER_FOLDER

Prints JSON: the mean negative log-likelihood of the label tokens of valid.jsonl, or of pairs the
mean DPO loss, and the share whose chosen answer has the higher reward, against the start's adapter.
`score_adapter` runs it.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from bench.training.peers.task import Task, read_rows
from bench.training.turns import run_json

ROWS_AT_ONCE = 8


def score_adapter(task: Path, adapter: Path) -> dict[str, Any]:
    """Score an adapter in a process of its own."""
    scores: dict[str, Any] = run_json("bench.training.held_out", str(task), str(adapter))
    return scores


def list_sequences(rows: list[dict[str, Any]]) -> list[tuple[list[int], list[int]]]:
    """List token ids with the positions of their labels; of a pair, chosen and rejected."""
    if "ids" in rows[0]:
        return [(row["ids"], row["labels"]) for row in rows]
    sequences = []
    for row in rows:
        for answer in (row["chosen_ids"], row["rejected_ids"]):
            ids = row["prompt_ids"] + answer
            sequences.append((ids, list(range(len(row["prompt_ids"]), len(ids)))))
    return sequences


def score(model: Any, sequences: list[tuple[list[int], list[int]]]) -> Tensor:
    """Sum the log-probabilities of each sequence's labels: [sequences]."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index][0]))
    sums = torch.zeros(len(sequences), dtype=torch.float64)
    for start in range(0, len(order), ROWS_AT_ONCE):
        for index, value in _score_some(model, sequences, order[start : start + ROWS_AT_ONCE]):
            sums[index] = value
    return sums


def _score_some(
    model: Any, sequences: list[tuple[list[int], list[int]]], places: list[int]
) -> Iterator[tuple[int, float]]:
    length = max(len(sequences[place][0]) for place in places)
    # Padding on the right needs no mask in a causal model.
    ids = torch.tensor(
        [sequences[place][0] + [0] * (length - len(sequences[place][0])) for place in places]
    ).to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits
    for row, place in enumerate(places):
        labels = torch.tensor(sequences[place][1])
        nll = functional.cross_entropy(
            logits[row, labels - 1].float(), ids[row, labels], reduction="sum"
        )
        yield place, -nll.item()


def compare(task: Task, rows: list[dict[str, Any]], tuned: Tensor, start: Tensor) -> dict[str, Any]:
    if task.method != "dpo":
        num_labels = sum(len(labels) for _, labels in list_sequences(rows))
        return {
            "nll": round(-tuned.sum().item() / num_labels, 5),
            "start_nll": round(-start.sum().item() / num_labels, 5),
        }
    rewards = task.beta * (tuned - start).view(-1, 2)
    margins = rewards[:, 0] - rewards[:, 1]
    return {
        "loss": round(-functional.logsigmoid(margins).mean().item(), 5),
        "accuracy": round((margins > 0).double().mean().item(), 4),
        "margin": round(margins.mean().item(), 4),
    }


@torch.inference_mode()
def main() -> None:
    folder, adapter = Path(sys.argv[1]), Path(sys.argv[2])
    task = Task.read(folder)
    torch.set_num_threads(task.threads)
    rows = read_rows(folder, "valid")
    base = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32).to(task.device)
    # PEFT reads an attribute that transformers deprecates.
    warnings.filterwarnings("ignore", category=FutureWarning)
    model = PeftModel.from_pretrained(base, str(folder / "start"), adapter_name="start").eval()
    model.load_adapter(str(adapter), adapter_name="tuned")
    start_scores = folder / "start_scores.json"
    if not start_scores.exists():
        model.set_adapter("start")
        start_scores.write_text(json.dumps(score(model, list_sequences(rows)).tolist()))
    start = torch.tensor(json.loads(start_scores.read_text()), dtype=torch.float64)
    model.set_adapter("tuned")
    tuned = score(model, list_sequences(rows))
    print(json.dumps(compare(task, rows, tuned, start)))


if __name__ == "__main__":
    main()
