"""TRL's SFTTrainer and DPOTrainer, and Unsloth, which trains by the former.

    python -m bench.training.peers.trl TASK_FOLDER OUT_FOLDER VARIANT

Rows come tokenized and in order. VARIANT is JSON: `unsloth` (its own loading of the model and its
checkpointing), `dtype` of the weights, and under `config` whatever differs from TRL's defaults.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

VARIANT = json.loads(sys.argv[3])
if VARIANT.get("unsloth"):
    # It replaces parts of the libraries that are imported after it.
    import unsloth

# ruff: noqa: E402
import torch
import transformers
import trl
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from bench.training.peers.task import Task, lower_priority, read_rows, time_call, write_result


class StepClock(transformers.TrainerCallback):
    """Notes when steps end, to leave out the first ones, in which kernels are compiled."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


class OrderedDpoTrainer(DPOTrainer):
    """DPOTrainer on rows that are tokenized already."""

    def _prepare_dataset(self, dataset: Any, *_args: Any, **_kwargs: Any) -> Any:
        return dataset


def load_model(task: Task, folder: Path) -> Any:
    """Load the base model with the start's adapter, as the variant does."""
    if VARIANT.get("unsloth"):
        model, _ = unsloth.FastLanguageModel.from_pretrained(
            str(folder / "start"),
            max_seq_length=task.max_tokens,
            load_in_4bit=False,
            use_gradient_checkpointing=VARIANT["checkpointing"],
        )
        return model
    dtype = getattr(torch, VARIANT.get("dtype", "float32"))
    base = AutoModelForCausalLM.from_pretrained(task.model, dtype=dtype).to(task.device)
    return PeftModel.from_pretrained(base, str(folder / "start"), is_trainable=True)


def common_settings(task: Task, out: Path) -> dict[str, Any]:
    """Settings that make the runs comparable, before the variant's own."""
    settings = {
        "output_dir": str(out / "trainer"),
        "per_device_train_batch_size": task.batch_size,
        "num_train_epochs": task.epochs,
        "learning_rate": task.learning_rate,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "max_length": task.max_tokens,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": task.device == "cpu",
        "seed": task.seed,
    }
    return settings | VARIANT.get("config", {})


def make_sft_trainer(task: Task, folder: Path, out: Path) -> SFTTrainer:
    rows = [
        {"input_ids": row["ids"], "completion_mask": mask_labels(row)} for row in read_rows(folder)
    ]
    return SFTTrainer(
        model=load_model(task, folder),
        args=SFTConfig(completion_only_loss=True, **common_settings(task, out)),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task.model),
    )


def mask_labels(row: dict[str, Any]) -> list[int]:
    labels = set(row["labels"])
    return [int(position in labels) for position in range(len(row["ids"]))]


def make_dpo_trainer(task: Task, folder: Path, out: Path) -> DPOTrainer:
    return OrderedDpoTrainer(
        model=load_model(task, folder),
        args=DPOConfig(beta=task.beta, **common_settings(task, out)),
        train_dataset=Dataset.from_list(read_rows(folder)),
        processing_class=AutoTokenizer.from_pretrained(task.model),
    )


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    task = Task.read(folder)
    lower_priority()
    torch.set_num_threads(task.threads)
    trainers: list[Any] = []

    def make() -> None:
        factory = make_dpo_trainer if task.method == "dpo" else make_sft_trainer
        trainers.append(factory(task, folder, out))

    # Reference log-probabilities that are computed beforehand are computed here.
    seconds_to_make = time_call(make)
    clock = StepClock()
    trainers[0].add_callback(clock)
    seconds = time_call(trainers[0].train)
    on_gpu = task.device == "cuda"
    is_precomputed = VARIANT.get("config", {}).get("precompute_ref_log_probs", False)
    trainers[0].model.save_pretrained(out / "adapter")
    write_result(
        out,
        seconds=seconds + (seconds_to_make if is_precomputed else 0.0),
        step_ends=clock.ends,
        losses=[log["loss"] for log in trainers[0].state.log_history if "loss" in log],
        peak_device_mb=round(torch.cuda.max_memory_allocated() / 1e6) if on_gpu else None,
        versions={
            "trl": trl.__version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            **({"unsloth": unsloth.__version__} if VARIANT.get("unsloth") else {}),
        },
    )


if __name__ == "__main__":
    main()
