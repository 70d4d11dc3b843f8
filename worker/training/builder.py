"""From a run folder's spec to a training whose parts are all made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from app.catalog import CatalogModel
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
from worker.rendering import Renderer
from worker.rundir import RunFolder, RunSpec
from worker.training.checkpoint import Checkpointer
from worker.training.encoders import builder as encoders
from worker.training.environment import StopSignal, environment_fingerprint
from worker.training.errors import user_error
from worker.training.forward import choose_causal_lm
from worker.training.loop import TrainingLoop
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

# Tokens of a micro-batch: enough to keep the matrix units busy, few enough for caches and memory.
MAX_TOKENS = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class _Method:
    """How a method's files are read, and its numbers chosen."""

    read: Callable[..., Sequence[Any]]
    choose: Callable[..., Recipe]


METHODS: Mapping[str, _Method] = {
    "supervised": _Method(read_rows, choose_recipe),
    "dpo": _Method(read_pairs, choose_dpo_recipe),
}


def build_training_loop(folder: RunFolder, spec: RunSpec, stop: StopSignal) -> TrainingLoop[Any]:
    """Read the data, load the model, choose the numbers.

    Raises faults.Fault and modeling.ModelUnavailable.
    """
    if spec.method in encoders.METHODS:
        return encoders.build_training_loop(folder, spec, stop)
    if spec.method not in METHODS:
        raise user_error(
            "invalid_method", f"This trainer knows no method {spec.method!r}.", "method"
        )
    method = METHODS[spec.method]
    model_folder = materialize(CatalogModel.from_json(spec.model), Path(spec.model_cache))
    renderer = Renderer(load_tokenizer(model_folder), spec.model["context_length"])
    rows = method.read(folder.train_file, renderer, param="training_file")
    held_out: Sequence[Any] = ()
    if folder.valid_file.exists():
        held_out = method.read(folder.valid_file, renderer, param="validation_file")
    device = choose_device()
    base = load_base(model_folder, dtype=choose_dtype(device), device=device)
    hidden_size = base.config.get_text_config().hidden_size
    recipe = method.choose(spec.hyperparameters, examples=len(rows), hidden_size=hidden_size)
    return _build_loop(folder, spec, stop, recipe, _build_model(folder, spec, base), rows, held_out)


def _build_loop(
    folder: RunFolder,
    spec: RunSpec,
    stop: StopSignal,
    recipe: Recipe,
    model: PeftModel,
    rows: Sequence[Any],
    held_out: Sequence[Any],
) -> TrainingLoop[Any]:
    parameters = list(adapter_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, betas=ADAM_BETAS, weight_decay=0.0, fused=True)
    objective = _build_objective(spec, recipe, model, [*rows, *held_out])
    schedule = EpochSampler(rows, recipe.batch_size, recipe.n_epochs, spec.seed)
    loop = TrainingLoop(
        folder=folder,
        recipe=recipe,
        sampler=schedule,
        objective=objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=Validation.for_training(held_out, objective, schedule) if held_out else None,
        checkpointer=Checkpointer(
            folder,
            AdapterWeights(model),
            optimizer,
            environment_fingerprint(model.device, choose_dtype(model.device)),
        ),
        stop=stop,
    )
    return _with_ref_logprobs(loop, objective) if isinstance(objective, DpoObjective) else loop


def _build_objective(
    spec: RunSpec, recipe: Recipe, model: PeftModel, rows: Sequence[Any]
) -> SupervisedObjective | DpoObjective:
    scorer, device = choose_causal_lm(model), model.device
    max_tokens, max_rows = MAX_TOKENS[device.type], spec.micro_batch
    if spec.method == "supervised":
        return SupervisedObjective(scorer, device, max_tokens=max_tokens, max_rows=max_rows)
    return DpoObjective(
        scorer,
        device,
        RefLogprobs(rows),
        beta=recipe.extra["beta"],
        max_tokens=max_tokens,
        max_rows=max_rows,
    )


def _with_ref_logprobs(loop: TrainingLoop[Any], objective: DpoObjective) -> TrainingLoop[Any]:
    """The same, asking the starting model first, and keeping its answers with each checkpoint."""
    checkpoints = replace(loop.checkpointer, extra_files=objective.ref_logprobs.to_files)
    preparation = RefLogprobsPrecomputer(
        objective.ref_logprobs, objective, loop.folder, checkpoints, loop.stop
    )
    return replace(loop, checkpointer=checkpoints, prepare=preparation.run)


def _build_model(folder: RunFolder, spec: RunSpec, base: PreTrainedModel) -> PeftModel:
    """`base` with a new adapter, or with the one that this job continues from."""
    rank, alpha = LORA_RANK, LORA_ALPHA
    init = load_adapter(folder.init_adapter) if folder.init_adapter.exists() else None
    if init is not None:
        rank, alpha = init.config["r"], init.config["lora_alpha"]
    model = add_adapter(base, rank=rank, alpha=alpha, base_model=spec.base_model, seed=spec.seed)
    if init is not None:
        set_adapter_weights(model, init.tensors)
    return model
