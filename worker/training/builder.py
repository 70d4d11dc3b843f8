"""From a run folder's spec to a training whose parts are all made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from app.catalog import BaseModel
from worker.modeling import (
    adapter_parameters,
    add_adapter,
    choose_device,
    choose_dtype,
    load_adapter,
    load_base,
    load_tokenizer,
    materialize,
    put_adapter,
)
from worker.rendering import Renderer
from worker.rundir import RunFolder, RunSpec
from worker.training.checkpoint import Checkpoints
from worker.training.encoders import builder as encoders
from worker.training.environment import Stop, fingerprint
from worker.training.errors import user_error
from worker.training.forward import choose_scorer
from worker.training.loop import Loop
from worker.training.objectives.dpo import DirectPreference, read_pairs
from worker.training.objectives.supervised import Supervised, read_rows
from worker.training.recipe import (
    BETAS,
    LORA_ALPHA,
    LORA_RANK,
    Recipe,
    choose,
    choose_for_preferences,
)
from worker.training.ref_logprobs import Preparation, Reference
from worker.training.sampler import Schedule
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
    "supervised": _Method(read_rows, choose),
    "dpo": _Method(read_pairs, choose_for_preferences),
}


def assemble(folder: RunFolder, spec: RunSpec, stop: Stop) -> Loop[Any]:
    """Read the data, load the model, choose the numbers.

    Raises faults.Fault and modeling.ModelUnavailable.
    """
    if spec.method in encoders.METHODS:
        return encoders.assemble(folder, spec, stop)
    if spec.method not in METHODS:
        raise user_error(
            "invalid_method", f"This trainer knows no method {spec.method!r}.", "method"
        )
    method = METHODS[spec.method]
    model_folder = materialize(BaseModel.from_json(spec.model), Path(spec.cache))
    renderer = Renderer(load_tokenizer(model_folder), spec.model["context_length"])
    rows = method.read(folder.train, renderer, param="training_file")
    held_out: Sequence[Any] = ()
    if folder.valid.exists():
        held_out = method.read(folder.valid, renderer, param="validation_file")
    device = choose_device()
    base = load_base(model_folder, dtype=choose_dtype(device), device=device)
    hidden_size = base.config.get_text_config().hidden_size
    recipe = method.choose(spec.hyperparameters, examples=len(rows), hidden_size=hidden_size)
    return _loop(folder, spec, stop, recipe, _model(folder, spec, base), rows, held_out)


def _loop(
    folder: RunFolder,
    spec: RunSpec,
    stop: Stop,
    recipe: Recipe,
    model: PeftModel,
    rows: Sequence[Any],
    held_out: Sequence[Any],
) -> Loop[Any]:
    parameters = list(adapter_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=0.0, fused=True)
    objective = _objective(spec, recipe, model, [*rows, *held_out])
    schedule = Schedule(rows, recipe.batch_size, recipe.n_epochs, spec.seed)
    loop = Loop(
        folder=folder,
        recipe=recipe,
        schedule=schedule,
        objective=objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=Validation.made(held_out, objective, schedule) if held_out else None,
        checkpoints=Checkpoints(
            folder,
            AdapterWeights(model),
            optimizer,
            fingerprint(model.device, choose_dtype(model.device)),
        ),
        stop=stop,
    )
    return _referring(loop, objective) if isinstance(objective, DirectPreference) else loop


def _objective(
    spec: RunSpec, recipe: Recipe, model: PeftModel, rows: Sequence[Any]
) -> Supervised | DirectPreference:
    scorer, device = choose_scorer(model), model.device
    max_tokens, max_rows = MAX_TOKENS[device.type], spec.micro_batch
    if spec.method == "supervised":
        return Supervised(scorer, device, max_tokens=max_tokens, max_rows=max_rows)
    return DirectPreference(
        scorer,
        device,
        Reference(rows),
        beta=recipe.others["beta"],
        max_tokens=max_tokens,
        max_rows=max_rows,
    )


def _referring(loop: Loop[Any], objective: DirectPreference) -> Loop[Any]:
    """The same, asking the starting model first, and keeping its answers with each checkpoint."""
    checkpoints = replace(loop.checkpoints, companions=objective.reference.files)
    preparation = Preparation(objective.reference, objective, loop.folder, checkpoints, loop.stop)
    return replace(loop, checkpoints=checkpoints, prepare=preparation.run)


def _model(folder: RunFolder, spec: RunSpec, base: PreTrainedModel) -> PeftModel:
    """`base` with a new adapter, or with the one that this job continues from."""
    rank, alpha = LORA_RANK, LORA_ALPHA
    init = load_adapter(folder.init) if folder.init.exists() else None
    if init is not None:
        rank, alpha = init.config["r"], init.config["lora_alpha"]
    model = add_adapter(base, rank=rank, alpha=alpha, base_model=spec.base_model, seed=spec.seed)
    if init is not None:
        put_adapter(model, init.tensors)
    return model
