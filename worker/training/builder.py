"""Builds the training loop of a chat or preference job from its run folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from app.catalog import CatalogModel
from worker.model.rendering import Renderer
from worker.modeling import (
    adapter_parameters,
    add_adapter,
    choose_device,
    choose_dtype,
    load_adapter,
    load_base,
    load_tokenizer,
    materialize,
    set_adapter_weights,
)
from worker.run_folder import RunFolder, RunSpec
from worker.training.chat_data import ChatData, make_progress_reporter
from worker.training.checkpoint import Checkpointer
from worker.training.encoders.builder import build_training_loop as build_encoder_loop
from worker.training.encoders.methods import METHODS as ENCODER_METHODS
from worker.training.environment import StopSignal, get_environment_fingerprint
from worker.training.errors import user_error
from worker.training.forward import choose_causal_lm
from worker.training.loop import TrainingLoop
from worker.training.memory_check import check_memory
from worker.training.micro_batch_limits import MicroBatchLimits, reduce_limits
from worker.training.objectives.dpo import DpoObjective, read_pairs
from worker.training.objectives.supervised import SupervisedObjective, read_rows
from worker.training.recipe import (
    ADAM_BETAS,
    LORA_ALPHA,
    LORA_RANK,
    Recipe,
    choose_dpo_recipe,
    choose_recipe,
)
from worker.training.ref_logprobs import RefLogprobs, RefLogprobsPrecomputer
from worker.training.sampler import EpochSampler
from worker.training.validation import Validation
from worker.training.weights import AdapterWeights

# Tokens per micro-batch: enough to keep the matrix units busy, few enough for caches and memory.
MAX_TOKENS = {"cpu": 2048, "cuda": 8192}


Objective = SupervisedObjective | DpoObjective


@dataclass(frozen=True, slots=True)
class _ChatMethod:
    """Functions that implement a method of causal models."""

    read_rows: Callable[..., ChatData[Any]]
    choose_recipe: Callable[..., Recipe]
    build_objective: Callable[[RunSpec, Recipe, PeftModel, Sequence[Any]], Objective]


def build_training_loop(folder: RunFolder, spec: RunSpec, stop: StopSignal) -> TrainingLoop[Any]:
    """Read the data, load the model and resolve the hyperparameters.

    Raises TrainingError and ModelUnavailable.
    """
    if spec.method in ENCODER_METHODS:
        return build_encoder_loop(folder, spec, stop)
    if spec.method not in CHAT_METHODS:
        raise user_error("invalid_method", f"Unknown method {spec.method!r}.", "method")
    method = CHAT_METHODS[spec.method]
    model_folder = materialize(CatalogModel.from_json(spec.model), Path(spec.model_cache))
    renderer = Renderer(load_tokenizer(model_folder), spec.model["context_length"])
    data, validation_rows = _read_data(folder, renderer, method)
    device = choose_device()
    check_memory(model_folder, choose_dtype(device), device)
    base = load_base(model_folder, dtype=choose_dtype(device), device=device)
    hidden_size = base.config.get_text_config().hidden_size
    recipe = method.choose_recipe(
        spec.hyperparameters, examples=len(data.rows), hidden_size=hidden_size
    )
    model = _build_model(folder, spec, base)
    loop = _build_loop(folder, spec, stop, recipe, model, data.rows, validation_rows)
    return replace(loop, data_warnings=data.warnings)


def _read_data(
    folder: RunFolder, renderer: Renderer, method: _ChatMethod
) -> tuple[ChatData[Any], Sequence[Any]]:
    """Read the training file, and the rows of the validation file if there is one."""
    report = make_progress_reporter(folder)
    data = method.read_rows(
        folder.train_file, renderer, param="training_file", report_progress=report
    )
    if not folder.valid_file.exists():
        return data, ()
    validation = method.read_rows(
        folder.valid_file, renderer, param="validation_file", report_progress=report
    )
    return replace(data, warnings=[*data.warnings, *validation.warnings]), validation.rows


def _build_loop(
    folder: RunFolder,
    spec: RunSpec,
    stop: StopSignal,
    recipe: Recipe,
    model: PeftModel,
    rows: Sequence[Any],
    validation_rows: Sequence[Any],
) -> TrainingLoop[Any]:
    parameters = list(adapter_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, betas=ADAM_BETAS, weight_decay=0.0, fused=True)
    objective = CHAT_METHODS[spec.method].build_objective(
        spec, recipe, model, [*rows, *validation_rows]
    )
    sampler = EpochSampler(rows, recipe.batch_size, recipe.n_epochs, spec.seed)
    loop = TrainingLoop(
        folder=folder,
        recipe=recipe,
        sampler=sampler,
        objective=objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=Validation.for_training(validation_rows, objective, sampler)
        if validation_rows
        else None,
        checkpointer=Checkpointer(
            folder,
            AdapterWeights(model),
            optimizer,
            get_environment_fingerprint(model.device, choose_dtype(model.device)),
        ),
        stop=stop,
    )
    return _with_ref_logprobs(loop, objective) if isinstance(objective, DpoObjective) else loop


def _build_supervised(
    spec: RunSpec, recipe: Recipe, model: PeftModel, rows: Sequence[Any]
) -> SupervisedObjective:
    limits = _choose_limits(spec, recipe, model)
    return SupervisedObjective(
        choose_causal_lm(model),
        model.device,
        max_tokens=limits.max_tokens,
        max_rows=limits.max_rows,
    )


def _build_dpo(
    spec: RunSpec, recipe: Recipe, model: PeftModel, rows: Sequence[Any]
) -> DpoObjective:
    limits = _choose_limits(spec, recipe, model)
    return DpoObjective(
        choose_causal_lm(model),
        model.device,
        RefLogprobs(rows),
        beta=recipe.extra["beta"],
        max_tokens=limits.max_tokens,
        max_rows=limits.max_rows,
    )


def _choose_limits(spec: RunSpec, recipe: Recipe, model: PeftModel) -> MicroBatchLimits:
    return reduce_limits(MAX_TOKENS[model.device.type], spec.micro_batch, recipe.batch_size)


def _with_ref_logprobs(loop: TrainingLoop[Any], objective: DpoObjective) -> TrainingLoop[Any]:
    """Add a first phase that computes reference log-probabilities, saved with each checkpoint."""
    checkpointer = replace(loop.checkpointer, extra_files=objective.ref_logprobs.to_files)
    precomputer = RefLogprobsPrecomputer(
        objective.ref_logprobs, objective, loop.folder, checkpointer, loop.stop
    )
    return replace(loop, checkpointer=checkpointer, prepare=precomputer.run)


def _build_model(folder: RunFolder, spec: RunSpec, base: PreTrainedModel) -> PeftModel:
    """Put a new adapter on `base`, or the adapter that this job continues from."""
    rank, alpha = LORA_RANK, LORA_ALPHA
    initial = load_adapter(folder.init_adapter) if folder.init_adapter.exists() else None
    if initial is not None:
        rank, alpha = initial.config["r"], initial.config["lora_alpha"]
    model = add_adapter(base, rank=rank, alpha=alpha, base_model=spec.base_model, seed=spec.seed)
    if initial is not None:
        set_adapter_weights(model, initial.tensors)
    return model


CHAT_METHODS: Mapping[str, _ChatMethod] = {
    "supervised": _ChatMethod(read_rows, choose_recipe, _build_supervised),
    "dpo": _ChatMethod(read_pairs, choose_dpo_recipe, _build_dpo),
}
