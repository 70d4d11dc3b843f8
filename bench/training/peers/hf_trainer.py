"""transformers' Trainer on an encoder with a classification head on mean-pooled tokens.

    python -m bench.training.peers.hf_trainer TASK_FOLDER OUT_FOLDER VARIANT

The accuracy on valid.jsonl is computed after each epoch, as our jobs do, which is part of the time.
(AutoModelForSequenceClassification's head on the first token's pooler was as fast but 14 to 17
points worse, at the same and at three times the learning rate: MiniLM is a sentence encoder.)
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
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

from bench.training.peers.task import Task, lower_priority, read_rows, time_call, write_result


class TokenizedDataset(Dataset[dict[str, Any]]):
    """Tokenized rows, in the form that Trainer expects."""

    def __init__(self, rows: list[dict[str, Any]], tokenizer: Any, task: Task) -> None:
        texts = [row["text"] for row in rows]
        self._texts = tokenizer(texts, truncation=True, max_length=task.max_tokens)
        self._labels = [task.labels.index(row["label"]) for row in rows]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self._texts["input_ids"][index], "labels": self._labels[index]}


class MeanPooledClassifier(nn.Module):
    """A backbone with a linear head on mean-pooled tokens, with the interface Trainer expects."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.backbone = AutoModel.from_pretrained(task.model, add_pooling_layer=False)
        self.head = nn.Linear(self.backbone.config.hidden_size, len(task.labels))
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in task.trained)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Any]:
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1)
        logits = self.head((hidden * mask).sum(1) / mask.sum(1))
        return {"loss": functional.cross_entropy(logits.float(), labels), "logits": logits}


def compute_accuracy(evaluated: Any) -> dict[str, float]:
    predictions = np.argmax(evaluated.predictions, 1)
    return {"accuracy": float(np.mean(predictions == evaluated.label_ids))}


def make_trainer(task: Task, folder: Path, out: Path, variant: dict[str, Any]) -> Trainer:
    tokenizer = AutoTokenizer.from_pretrained(task.model)
    train, valid = (
        TokenizedDataset(read_rows(folder, name), tokenizer, task) for name in ("rows", "valid")
    )
    return Trainer(
        model=MeanPooledClassifier(task),
        args=TrainingArguments(
            output_dir=str(out / "trainer"),
            num_train_epochs=task.epochs,
            per_device_train_batch_size=task.batch_size,
            per_device_eval_batch_size=task.batch_size,
            learning_rate=task.learning_rate,
            eval_strategy="epoch",
            save_strategy="no",
            use_cpu=task.device == "cpu",
            seed=task.seed,
            report_to=[],
            disable_tqdm=True,
            **variant.get("config", {}),
        ),
        train_dataset=train,
        eval_dataset=valid,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_accuracy,
    )


def main() -> None:
    folder, out, variant = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    task = Task.read(folder)
    lower_priority()
    torch.set_num_threads(task.threads)
    transformers.set_seed(task.seed)
    trainer = make_trainer(task, folder, out, variant)
    seconds = time_call(trainer.train)
    accuracies = [
        log["eval_accuracy"] for log in trainer.state.log_history if "eval_accuracy" in log
    ]
    write_result(
        out,
        seconds=seconds,
        losses=[log["loss"] for log in trainer.state.log_history if "loss" in log],
        held_out={"accuracy": accuracies[-1]},
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
    )


if __name__ == "__main__":
    main()
