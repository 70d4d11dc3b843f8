"""Makes the folder of a comparison: rows, start and settings, equal for all trainers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

from app.catalog import Catalog, CatalogModel, ModelKind
from app.recipes.chat import DPO_BETA, DPO_LEARNING_RATE_RATIO, LORA_ALPHA, LORA_RANK
from app.recipes.encoders import FULL_TUNING_LEARNING_RATE
from app.recipes.learning_rates import lora_learning_rate
from bench.training.peers.task import Task, write_rows
from worker.encoding.backbone import list_full_tuning_parameter_names
from worker.model.generation_config import read_generation_config
from worker.model.rendering import Renderer, RenderingOptions
from worker.model_sources import materialize
from worker.modeling import add_adapter, load_base, load_tokenizer, save_adapter
from worker.run_folder import RunFolder, RunSpec
from worker.training.batching import Row
from worker.training.chat_data import has_reasoning
from worker.training.objectives.dpo import PreferencePair, read_pairs
from worker.training.objectives.supervised import read_rows
from worker.training.sampler import EpochSampler

Item = Row | PreferencePair
# Equal for all: the first step is at the full rate, and the rate stays.
CONSTANT_RATE = {"lr_schedule": "constant", "warmup_ratio": 0.0}


@dataclass(frozen=True, slots=True)
class Workload:
    """A comparison: its folder, the tokens of the rows, and of chat models the rows of each step.

    The tokens of a pair are those of both answers with their prompt.
    """

    folder: Path
    task: Task
    num_tokens: int
    steps: list[list[Item]] = field(default_factory=list)


def list_rows(items: Iterable[Item]) -> list[Row]:
    """List the rows of items; of a pair, both."""
    pairs = (
        (item.chosen, item.rejected) if isinstance(item, PreferencePair) else (item,)
        for item in items
    )
    return list(chain.from_iterable(pairs))


def make_workload(arguments: Any, folder: Path) -> Workload:
    """Prepare the comparison that the arguments describe."""
    model = Catalog.load(arguments.models).get(arguments.model)
    if model is None:
        raise SystemExit(f"{arguments.models} has no model {arguments.model}")
    if model.kind == ModelKind.ENCODER:
        return make_encoder_workload(arguments, folder, model)
    return make_chat_workload(arguments, folder, model)


def make_chat_workload(arguments: Any, folder: Path, model: CatalogModel) -> Workload:
    """Prepare supervised training or DPO: rows by our renderer, in the order of our sampler."""
    base = materialize(model, arguments.cache)
    run = make_run_folder(arguments, folder, model)
    renderer = Renderer(
        load_tokenizer(base),
        min(model.context_length, arguments.max_tokens),
        eos_ids=read_generation_config(base).eos_ids,
        options=RenderingOptions(thinking=has_reasoning(run.train_file)),
    )
    read = read_pairs if arguments.method == "dpo" else read_rows
    items = read(run.train_file, renderer, param="training_file").rows
    held_out = read(arguments.valid, renderer, param="validation_file").rows
    sampler = EpochSampler(items, arguments.batch, 1, arguments.seed)
    steps = [sampler.batch(step + 1) for step in range(sampler.total_steps)]
    config = AutoConfig.from_pretrained(base)
    rate = lora_learning_rate(config.model_type, config.hidden_size)
    task = Task(
        method=arguments.method,
        model=str(base.resolve()),
        device=arguments.device,
        threads=arguments.threads,
        batch_size=arguments.batch,
        learning_rate=rate * (DPO_LEARNING_RATE_RATIO if arguments.method == "dpo" else 1),
        seed=arguments.seed,
        max_tokens=arguments.max_tokens,
        beta=DPO_BETA,
    )
    task.write(folder)
    to_json = pair_to_json if arguments.method == "dpo" else row_to_json
    write_rows(folder, [to_json(item) for item in chain.from_iterable(steps)])
    write_rows(folder, [to_json(item) for item in held_out[: arguments.valid_rows]], "valid")
    write_start(base, folder / "start", arguments.seed)
    run.init_adapter.symlink_to(folder / "start")
    num_tokens = sum(len(row.ids) for row in list_rows(items))
    return Workload(folder, task, num_tokens, steps)


def make_run_folder(
    arguments: Any, folder: Path, model: CatalogModel, **hyperparameters: Any
) -> RunFolder:
    """Make the run folder of our job, with the first rows of the training file."""
    run = RunFolder(folder / "run")
    run.checkpoints.mkdir(parents=True)
    lines = arguments.train.read_text(encoding="utf-8").splitlines()[: arguments.rows]
    run.train_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    chosen = {"n_epochs": arguments.epochs, "batch_size": arguments.batch}
    if model.kind == ModelKind.CAUSAL:
        chosen |= {**CONSTANT_RATE, "max_seq_length": arguments.max_tokens}
    run.write_spec(
        RunSpec(
            job_id="bench",
            attempt=1,
            model=model.to_json(),
            model_cache=str(arguments.cache.resolve()),
            method=arguments.method,
            hyperparameters={**chosen, **hyperparameters},
            seed=arguments.seed,
            base_model=model.id,
            threads=arguments.threads,
            # Follows training; the peers have no engine to compare with.
            compare_with_engine=False,
        )
    )
    return run


def write_start(base: Path, target: Path, seed: int) -> None:
    """Write the adapter that a new job would begin with."""
    model = load_base(base, dtype=torch.float32, device=torch.device("cpu"))
    target.mkdir()
    # By the path of the base, which PEFT loads from there.
    adapted = add_adapter(
        model, rank=LORA_RANK, alpha=LORA_ALPHA, base_model=str(base.resolve()), seed=seed
    )
    save_adapter(adapted, target)


def row_to_json(row: Row) -> dict[str, Any]:
    """The row as it goes through our model: the last label is its last token."""
    end = row.num_tokens + 1
    return {"ids": row.ids[:end].tolist(), "labels": row.label_positions.tolist()}


def pair_to_json(pair: PreferencePair) -> dict[str, Any]:
    """The pair in the form of TRL's collator."""
    prompt = int(pair.chosen.label_positions[0])
    for row in (pair.chosen, pair.rejected):
        if len(row.label_positions) != row.num_tokens + 1 - prompt:
            raise SystemExit("both answers must be one message after the same prompt")
    return {
        "prompt_ids": pair.chosen.ids[:prompt].tolist(),
        "chosen_ids": pair.chosen.ids[prompt : pair.chosen.num_tokens + 1].tolist(),
        "rejected_ids": pair.rejected.ids[prompt : pair.rejected.num_tokens + 1].tolist(),
    }


def make_encoder_workload(arguments: Any, folder: Path, model: CatalogModel) -> Workload:
    """Prepare full fine-tuning of an encoder with a classification head, but its embeddings."""
    base = materialize(model, arguments.cache)
    run = make_run_folder(arguments, folder, model, tuning="full")
    rows = read_json_lines(run.train_file)
    labels = {row["label"] for row in rows}
    # Of a part of the training file: rows whose label is in it.
    valid = [row for row in read_json_lines(arguments.valid) if row["label"] in labels]
    run.valid_file.write_text("".join(json.dumps(row) + "\n" for row in valid), encoding="utf-8")
    task = Task(
        method=arguments.method,
        model=str(base.resolve()),
        device=arguments.device,
        threads=arguments.threads,
        batch_size=arguments.batch,
        learning_rate=FULL_TUNING_LEARNING_RATE,
        seed=arguments.seed,
        epochs=arguments.epochs,
        max_tokens=model.context_length,
        trained=sorted(list_full_tuning_parameter_names(AutoModel.from_pretrained(base))),
        labels=sorted(labels),
    )
    task.write(folder)
    write_rows(folder, rows)
    write_rows(folder, valid, "valid")
    tokenizer = load_tokenizer(base)
    texts = [row["text"] for row in rows]
    ids = tokenizer(texts, truncation=True, max_length=task.max_tokens)["input_ids"]
    return Workload(folder, task, task.epochs * sum(map(len, ids)))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
