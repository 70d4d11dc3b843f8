"""Builds the training loop of an encoder job from its run folder."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from app.catalog import CatalogModel
from worker.encoding.backbone import load_backbone, read_shape
from worker.encoding.pooling import Pooling, read_pooling
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import EncoderTokenizer
from worker.model_sources import materialize
from worker.modeling import choose_device, choose_dtype, load_tokenizer
from worker.run_folder import EVALUATION_FILE, RunFolder, RunSpec
from worker.training.best_weights import BestWeights
from worker.training.checkpoint import Checkpointer
from worker.training.divergence import DivergenceDetector
from worker.training.encoders import classification, methods
from worker.training.encoders.data_warnings import (
    answer_length_warnings,
    dataset_warnings,
    unspelled_entity_warnings,
)
from worker.training.encoders.drift_baseline import build_drift_baseline, build_vocab_coverage
from worker.training.encoders.final_evaluation import evaluate_as_served
from worker.training.encoders.length_grouped_sampler import LengthGroupedSampler
from worker.training.encoders.methods import DataSplit
from worker.training.encoders.metrics import scalar_metrics
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora, enable_full_tuning
from worker.training.encoders.objective import EncoderObjective
from worker.training.encoders.recipe import choose_encoder_recipe
from worker.training.encoders.warm_start import (
    inherit_hyperparameters,
    inherit_task,
    read_initial_task,
)
from worker.training.environment import StopSignal, get_environment_fingerprint
from worker.training.loop import TrainingLoop
from worker.training.memory_check import check_memory
from worker.training.micro_batch_limits import reduce_limits
from worker.training.optimizer import build_optimizer
from worker.training.recipe import LORA_ALPHA, LORA_RANK, Recipe
from worker.training.validation import Validation

# Tokens per micro-batch for a model of MiniLM-L6's size (layers · width). Larger models get fewer:
# they keep more activations per token for the backward pass.
MAX_TOKENS = {"cpu": 4096, "cuda": 32768}
REFERENCE_MODEL_SIZE = 6 * 384
MIN_TOKENS = 512


@dataclass(frozen=True, slots=True)
class _TrainingInputs:
    """Task, tokenizer and tokenized data of a job."""

    task: EncoderTask
    tokenizer: EncoderTokenizer
    train: DataSplit
    valid: DataSplit | None
    test: DataSplit | None = None


def build_training_loop(folder: RunFolder, spec: RunSpec, stop: StopSignal) -> TrainingLoop[Any]:
    """Read the data, load the model and resolve the hyperparameters.

    Raises TrainingError and ModelUnavailable.
    """
    method: Method = next(name for name in methods.METHODS if name == spec.method)
    base = CatalogModel.from_json(spec.model)
    model_folder = materialize(base, Path(spec.model_cache))
    examples = methods.read_examples(method, folder.train_file, param="training_file")
    initial_task = read_initial_task(folder.init_adapter, method)
    hyperparameters = (
        spec.hyperparameters
        if initial_task is None
        else inherit_hyperparameters(spec.hyperparameters, initial_task)
    )
    hidden_size, model_type = read_shape(model_folder)
    recipe = choose_encoder_recipe(
        method,
        hyperparameters,
        examples=len(examples),
        hidden_size=hidden_size,
        model_type=model_type,
    )
    max_length = min(base.context_length, recipe.extra.get("max_length", base.context_length))
    tokenizer = EncoderTokenizer(load_tokenizer(model_folder), max_length)
    inferred = methods.METHODS[method].infer_task(examples, max_length, tokenizer)
    pooling = read_pooling(model_folder, base.kind)
    task = _build_task(recipe, inferred, initial_task, pooling)
    inputs = _build_inputs(folder, task, tokenizer, examples)
    torch.manual_seed(spec.seed)
    encoder, weights = _build_model(folder, spec, base, model_folder, inputs)
    return _build_loop(folder, spec, recipe, inputs, encoder, weights, stop)


def _build_loop(
    folder: RunFolder,
    spec: RunSpec,
    recipe: Recipe,
    inputs: _TrainingInputs,
    encoder: Encoder,
    weights: EncoderWeights,
    stop: StopSignal,
) -> TrainingLoop[Any]:
    train, valid = inputs.train, inputs.valid
    batch_size = min(recipe.batch_size, len(train.rows))
    limits = reduce_limits(_max_tokens(encoder), spec.micro_batch, batch_size)
    is_balanced = recipe.extra.get("class_weights") == "balanced"
    objective = methods.METHODS[inputs.task.method].build_objective(
        encoder, train, valid, limits, is_balanced
    )
    sampler = LengthGroupedSampler(train.rows, batch_size, recipe.n_epochs, spec.seed)
    parameters = list(weights.parameters().values())
    optimizer = build_optimizer(parameters, weight_decay=recipe.weight_decay)
    best_weights = validation = None
    if valid is not None:
        validation = Validation.for_training(
            valid.rows, objective, sampler, lambda rows: scalar_metrics(objective.evaluate(rows))
        )
        patience = recipe.extra.get("early_stopping_patience")
        best_weights = BestWeights(weights, f"valid_{objective.metric}", patience=patience)
    fingerprint = get_environment_fingerprint(encoder.device, choose_dtype(encoder.device))
    return TrainingLoop(
        folder=folder,
        recipe=recipe,
        sampler=sampler,
        objective=objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=validation,
        checkpointer=Checkpointer(
            folder, weights, optimizer, fingerprint, best_weights, recipe=recipe.report()
        ),
        stop=stop,
        divergence=DivergenceDetector(
            sampler.total_steps, None if is_balanced else _compute_chance_loss(inputs)
        ),
        best_weights=best_weights,
        drift_baseline=build_drift_baseline(
            inputs.task, train.rows, unk_id=inputs.tokenizer.unk_token_id
        ),
        data_warnings=list(_collect_warnings(inputs)),
        final_files=lambda: _evaluation_file(spec, objective, valid, inputs.test, weights),
    )


def _compute_chance_loss(inputs: _TrainingInputs) -> float | None:
    if inputs.task.method != "classification":
        return None
    return classification.compute_chance_loss(inputs.train.examples, inputs.task)


def _collect_warnings(inputs: _TrainingInputs) -> Iterator[str]:
    train, valid = inputs.train, inputs.valid
    yield from dataset_warnings(train.rows, valid.rows if valid else (), inputs.task)
    splits = [("training", train)] + ([("validation", valid)] if valid else [])
    for role, split in splits:
        if inputs.task.method == "question_answering":
            yield from answer_length_warnings(role, split.examples, split.rows)
        if inputs.task.method == "token_classification":
            yield from unspelled_entity_warnings(role, split.examples, split.rows, inputs.task)


def _max_tokens(encoder: Encoder) -> int:
    config = encoder.backbone.config
    size = max(REFERENCE_MODEL_SIZE, config.num_hidden_layers * config.hidden_size)
    max_tokens = MAX_TOKENS[encoder.device.type] * REFERENCE_MODEL_SIZE // size
    return max(MIN_TOKENS, int(max_tokens))


def _build_task(
    recipe: Recipe,
    inferred_task: EncoderTask,
    initial_task: EncoderTask | None,
    pooling: Pooling,
) -> EncoderTask:
    """Complete the file's task, or inherit that of the model that training continues from."""
    task = replace(
        inferred_task,
        tuning=recipe.extra["tuning"],
        pooling=pooling,
    )
    return task if initial_task is None else inherit_task(initial_task, task)


def _build_inputs(
    folder: RunFolder, task: EncoderTask, tokenizer: EncoderTokenizer, examples: methods.Examples
) -> _TrainingInputs:
    rows = methods.METHODS[task.method].build_rows(examples, task, tokenizer)
    task = replace(
        task, vocab_coverage=build_vocab_coverage(rows, unk_id=tokenizer.unk_token_id).to_base64()
    )
    return _TrainingInputs(
        task,
        tokenizer,
        DataSplit(examples, rows),
        _read_split(folder.valid_file, task, tokenizer, param="validation_file"),
        _read_split(folder.test_file, task, tokenizer, param="test_file"),
    )


def _read_split(
    path: Path, task: EncoderTask, tokenizer: EncoderTokenizer, *, param: str
) -> DataSplit | None:
    if not path.exists():
        return None
    examples = methods.read_examples(task.method, path, param=param)
    return DataSplit(examples, methods.METHODS[task.method].build_rows(examples, task, tokenizer))


def _build_model(
    folder: RunFolder,
    spec: RunSpec,
    base: CatalogModel,
    model_folder: Path,
    inputs: _TrainingInputs,
) -> tuple[Encoder, EncoderWeights]:
    """Make a model for the task, with the weights of the model to continue from, if any."""
    device = choose_device()
    dtype = choose_dtype(device)
    check_memory(model_folder, dtype, device)
    splits = [split for split in (inputs.train, inputs.valid, inputs.test) if split]
    max_length = max(row.num_tokens for split in splits for row in split.rows)
    encoder = Encoder(
        load_backbone(model_folder, dtype=dtype, device=device, max_length=max_length),
        inputs.task,
        inputs.tokenizer,
        num_outputs=methods.num_outputs(inputs.task),
    )
    if inputs.task.tuning == "lora":
        add_lora(encoder, rank=LORA_RANK, alpha=LORA_ALPHA)
    else:
        enable_full_tuning(encoder, dtype)
    weights = EncoderWeights(encoder, spec.base_model, rank=LORA_RANK, alpha=LORA_ALPHA)
    if folder.init_adapter.exists():
        weights.load(folder.init_adapter)
    return encoder, weights


def _evaluation_file(
    spec: RunSpec,
    objective: EncoderObjective[Any],
    valid: DataSplit | None,
    test: DataSplit | None,
    weights: EncoderWeights,
) -> dict[str, bytes]:
    """Evaluate the chosen weights on the validation file, and under `test` on the test file."""
    if valid is None and test is None:
        return {}
    base, cache = CatalogModel.from_json(spec.model), Path(spec.model_cache)
    report: dict[str, Any] = {}
    if valid is not None:
        report.update(evaluate_as_served(objective, valid, weights, base, cache))
    if test is not None:
        evaluator = objective.with_examples(test.examples)
        as_served = evaluate_as_served(evaluator, test, weights, base, cache)
        report["test"] = {"rows": len(test.examples), **as_served}
    return {EVALUATION_FILE: json.dumps(report, ensure_ascii=False, allow_nan=False).encode()}
