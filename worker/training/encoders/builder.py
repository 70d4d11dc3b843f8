"""Builds the training loop of an encoder job from its run folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.catalog import CatalogModel
from app.recipes.chat import Recipe, choose_lora_settings, drop_auto
from app.recipes.encoders import (
    ENCODER_CPU_MICRO_BATCH_TOKENS,
    choose_encoder_recipe,
    scale_micro_batch_tokens,
)
from app.wire.long_rows import LongRowPolicy, get_default_policy
from worker.encoding.backbone import Backbone, find_linear_layers, load_backbone, read_shape
from worker.encoding.bert_files import load_bert
from worker.encoding.pooling import read_pooling
from worker.encoding.rows.methods import ROW_METHODS
from worker.encoding.task import Method
from worker.encoding.tokenizer import EncoderTokenizer
from worker.model_sources import materialize
from worker.modeling import choose_device, choose_dtype, load_adapter
from worker.run_folder import EVALUATION_FILE, RunFolder, RunSpec
from worker.training.adapter_settings import inherit_settings
from worker.training.best_weights import BestWeights
from worker.training.checkpoint import Checkpointer
from worker.training.divergence import DivergenceDetector
from worker.training.encoders import bert, classification, methods
from worker.training.encoders.drift_baseline import build_drift_baseline
from worker.training.encoders.final_evaluation import evaluate_as_served
from worker.training.encoders.inputs import (
    TrainingInputs,
    build_inputs,
    complete_task,
    read_training_examples,
)
from worker.training.encoders.length_grouped_sampler import LengthGroupedSampler
from worker.training.encoders.methods import DataSplit, LossOptions
from worker.training.encoders.metrics import scalar_metrics
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora, enable_full_tuning
from worker.training.encoders.objective import EncoderObjective
from worker.training.encoders.warm_start import inherit_hyperparameters, read_initial_task
from worker.training.environment import StopSignal, get_environment_fingerprint
from worker.training.job_kernels import choose_kernels_folder, find_job_kernels
from worker.training.loop import TrainingLoop
from worker.training.memory_check import check_memory
from worker.training.micro_batch_limits import reduce_limits
from worker.training.optimizer import build_optimizer
from worker.training.preloading import load_tokenizer
from worker.training.validation import Validation

# Tokens per micro-batch for a model of MiniLM-L6's size.
MAX_TOKENS = {"cpu": ENCODER_CPU_MICRO_BATCH_TOKENS, "cuda": 32768}


def build_training_loop(folder: RunFolder, spec: RunSpec, stop: StopSignal) -> TrainingLoop[Any]:
    """Read the data, load the model and resolve the hyperparameters.

    Raises TrainingError and ModelUnavailable.
    """
    method: Method = next(name for name in ROW_METHODS if name == spec.method)
    base = CatalogModel.from_json(spec.model)
    model_folder = materialize(base, Path(spec.model_cache))
    initial_task = read_initial_task(folder.init_adapter, method)
    hyperparameters = (
        spec.hyperparameters
        if initial_task is None
        else inherit_hyperparameters(spec.hyperparameters, initial_task)
    )
    explicit = drop_auto(hyperparameters)
    max_length = min(base.context_length, explicit.get("max_length", base.context_length))
    long_rows = LongRowPolicy(explicit.get("long_rows", get_default_policy(method)))
    tokenizer = EncoderTokenizer(load_tokenizer(model_folder), max_length)
    training = read_training_examples(folder, method, tokenizer, max_length, long_rows)
    hidden_size, model_type = read_shape(model_folder)
    recipe = choose_encoder_recipe(
        method,
        hyperparameters,
        examples=len(training.examples),
        hidden_size=hidden_size,
        model_type=model_type,
    )
    pooling = read_pooling(model_folder, base.kind)
    task = complete_task(training.task, initial_task, recipe.extra["tuning"], pooling)
    inputs = build_inputs(folder, replace(training, task=task), tokenizer, long_rows)
    torch.manual_seed(spec.seed)
    encoder, weights, lora = _build_model(folder, spec, base, model_folder, inputs)
    keep = explicit.get("keep", "best") if inputs.valid is not None else "last"
    used = {
        "max_length": tokenizer.max_length,
        "class_weights": explicit.get("class_weights", "none"),
        "keep": keep,
        **lora,
    }
    recipe = replace(recipe, extra={**recipe.extra, **used})
    return _build_loop(folder, spec, recipe, inputs, encoder, weights, stop)


def _build_loop(
    folder: RunFolder,
    spec: RunSpec,
    recipe: Recipe,
    inputs: TrainingInputs,
    encoder: Encoder,
    weights: EncoderWeights,
    stop: StopSignal,
) -> TrainingLoop[Any]:
    train, valid = inputs.train, inputs.valid
    batch_size = min(recipe.batch_size, len(train.rows))
    limits = reduce_limits(_max_tokens(encoder), spec.micro_batch, batch_size)
    options = LossOptions(
        has_balanced_classes=recipe.extra.get("class_weights") == "balanced",
        label_smoothing=recipe.extra.get("label_smoothing", 0.0),
    )
    objective = methods.OBJECTIVE_BUILDERS[inputs.task.method](
        encoder, train, valid, limits, options
    )
    sampler = LengthGroupedSampler(train.rows, batch_size, recipe.n_epochs, spec.seed)
    parameters = list(weights.parameters().values())
    dtype = choose_dtype(encoder.device)
    optimizer = build_optimizer(
        parameters,
        weight_decay=recipe.weight_decay,
        kernels=find_job_kernels(spec, dtype, encoder.device),
    )
    best_weights = validation = None
    if valid is not None:
        validation = Validation.for_training(
            valid.rows,
            objective,
            sampler,
            lambda parts: scalar_metrics(objective.measure(parts)),
            objective.max_measured_rows,
        )
        patience = recipe.extra.get("early_stopping_patience")
        best_weights = BestWeights(
            weights,
            f"valid_{objective.metric}",
            patience=patience,
            keep=recipe.extra["keep"] == "best",
        )
    fingerprint = get_environment_fingerprint(encoder.device, dtype)
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
        divergence=DivergenceDetector(sampler.total_steps, _compute_chance_loss(inputs, options)),
        best_weights=best_weights,
        drift_baseline=build_drift_baseline(
            inputs.task, train.rows, unk_id=inputs.tokenizer.unk_token_id
        ),
        data_warnings=inputs.warnings,
        final_files=lambda: _evaluation_file(spec, objective, valid, inputs.test, weights),
    )


def _compute_chance_loss(inputs: TrainingInputs, options: LossOptions) -> float | None:
    if inputs.task.method != "classification" or options.has_balanced_classes:
        return None
    return classification.compute_chance_loss(
        inputs.train.examples, inputs.task, options.label_smoothing
    )


def _max_tokens(encoder: Encoder) -> int:
    config = encoder.backbone.config
    return scale_micro_batch_tokens(
        MAX_TOKENS[encoder.device.type],
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
    )


def _build_model(
    folder: RunFolder,
    spec: RunSpec,
    base: CatalogModel,
    model_folder: Path,
    inputs: TrainingInputs,
) -> tuple[Encoder, EncoderWeights, dict[str, Any]]:
    """Make a model for the task, with the weights of the model to continue from, if any.

    Also returns the shape of its adapter as hyperparameters, if it has one.
    """
    device = choose_device()
    dtype = choose_dtype(device)
    check_memory(model_folder, dtype, device)
    splits = [split for split in (inputs.train, inputs.valid, inputs.test) if split]
    max_length = max(row.num_tokens for split in splits for row in split.rows)
    encoder = Encoder(
        _load_backbone(model_folder, dtype, device, max_length),
        inputs.task,
        inputs.tokenizer,
        num_outputs=methods.num_outputs(inputs.task),
    )
    settings = choose_lora_settings(spec.hyperparameters)
    initial = load_adapter(folder.init_adapter) if folder.init_adapter.exists() else None
    kernels = choose_kernels_folder(spec)
    if inputs.task.tuning == "lora":
        if initial is not None:
            layers = list(find_linear_layers(encoder.backbone))
            settings = inherit_settings(settings, initial, layers)
        add_lora(encoder, settings, kernels)
    else:
        enable_full_tuning(encoder, dtype, kernels)
    weights = EncoderWeights(encoder, spec.base_model, settings)
    if initial is not None:
        weights.set_weights(initial.tensors)
    return encoder, weights, settings.report() if inputs.task.tuning == "lora" else {}


def _load_backbone(
    folder: Path, dtype: torch.dtype, device: torch.device, max_length: int
) -> Backbone:
    light = load_bert(folder, dtype=dtype, device=device) if device.type == "cpu" else None
    if light is not None and bert.supports(light):
        return light
    return load_backbone(folder, dtype=dtype, device=device, max_length=max_length)


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
