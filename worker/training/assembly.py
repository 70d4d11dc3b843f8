"""From a run folder's spec to a training whose parts are all made."""

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
from worker.training.data import Schedule
from worker.training.encoders import assembly as encoders
from worker.training.environment import Stop, fingerprint
from worker.training.faults import user_error
from worker.training.loop import Loop
from worker.training.objectives.supervised import Supervised, read_rows
from worker.training.recipe import BETAS, LORA_ALPHA, LORA_RANK, choose
from worker.training.scorers import choose_scorer
from worker.training.validation import Validation
from worker.training.weights import AdapterWeights

# Tokens of a micro-batch: enough to keep the matrix units busy, few enough for caches and memory.
MAX_TOKENS = {"cpu": 2048, "cuda": 8192}


def assemble(folder: RunFolder, spec: RunSpec, stop: Stop) -> Loop[Any]:
    """Read the data, load the model, choose the numbers.

    Raises faults.Fault and modeling.ModelUnavailable.
    """
    if spec.method in encoders.METHODS:
        return encoders.assemble(folder, spec, stop)
    if spec.method != "supervised":
        raise user_error(
            "invalid_method", f"This trainer knows no method {spec.method!r}.", "method"
        )
    model_folder = materialize(BaseModel.from_json(spec.model), Path(spec.cache))
    renderer = Renderer(load_tokenizer(model_folder), spec.model["context_length"])
    rows = read_rows(folder.train, renderer, param="training_file")
    device = choose_device()
    dtype = choose_dtype(device)
    base = load_base(model_folder, dtype=dtype, device=device)
    hidden_size = base.config.get_text_config().hidden_size
    recipe = choose(spec.hyperparameters, examples=len(rows), hidden_size=hidden_size)
    schedule = Schedule(rows, recipe.batch_size, recipe.n_epochs, spec.seed)
    model = _model(folder, spec, base)
    objective = Supervised(
        choose_scorer(model), device, max_tokens=MAX_TOKENS[device.type], max_rows=spec.micro_batch
    )
    parameters = list(adapter_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=0.0, fused=True)
    validation = None
    if folder.valid.exists():
        valid = read_rows(folder.valid, renderer, param="validation_file")
        validation = Validation.made(valid, objective, schedule)
    return Loop(
        folder=folder,
        recipe=recipe,
        schedule=schedule,
        objective=objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=validation,
        checkpoints=Checkpoints(
            folder, AdapterWeights(model), optimizer, fingerprint(device, dtype)
        ),
        stop=stop,
    )


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
