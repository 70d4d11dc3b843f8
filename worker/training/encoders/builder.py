"""From a run folder's spec to the training of an encoder whose parts are all made."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from app.catalog import BaseModel
from worker.encoding.backbone import load_backbone, read_width
from worker.encoding.task import Method, Task
from worker.encoding.tokenizer import Reader
from worker.modeling import choose_device, choose_dtype, load_tokenizer, materialize
from worker.rundir import EVALUATION, RunFolder, RunSpec
from worker.training.best_weights import Selection
from worker.training.checkpoint import Checkpoints
from worker.training.encoders import methods
from worker.training.encoders.data_warnings import notes, notes_on_answers
from worker.training.encoders.drift_baseline import familiar, reference
from worker.training.encoders.length_grouped_sampler import Bucketed
from worker.training.encoders.methods import Data, Limits
from worker.training.encoders.metrics import headline
from worker.training.encoders.model import Encoder, Trained, put_lora, train_whole
from worker.training.encoders.objective import TaskObjective
from worker.training.encoders.recipe import WEIGHT_DECAY, choose
from worker.training.encoders.warm_start import continued, kept, task_before
from worker.training.environment import Stop, fingerprint
from worker.training.loop import Loop
from worker.training.recipe import BETAS, LORA_ALPHA, LORA_RANK, Recipe
from worker.training.validation import Validation

# Tokens of a micro-batch, for a model as large as MiniLM-L6; fewer for larger ones, which keep more
# of each token until the backward pass.
MAX_TOKENS = {"cpu": 4096, "cuda": 32768}
SIZE_OF_MAX_TOKENS = 6 * 384
FEWEST_TOKENS = 512
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What is to be learned, in tokens."""

    task: Task
    reader: Reader
    train: Data
    valid: Data | None


def assemble(folder: RunFolder, spec: RunSpec, stop: Stop) -> Loop[Any]:
    """Read the data, load the model, choose the numbers.

    Raises faults.Fault and modeling.ModelUnavailable.
    """
    method: Method = next(name for name in METHODS if name == spec.method)
    base = BaseModel.from_json(spec.model)
    model_folder = materialize(base, Path(spec.cache))
    examples = methods.read(method, folder.train, param="training_file")
    before = task_before(folder.init, method)
    asked = spec.hyperparameters if before is None else kept(spec.hyperparameters, before)
    width = read_width(model_folder)
    recipe = choose(method, asked, examples=len(examples), hidden_size=width)
    task = _task(base, recipe, method, examples, before)
    inputs = _inputs(folder, task, model_folder, examples)
    torch.manual_seed(spec.seed)
    encoder, weights = _model(folder, spec, base, model_folder, inputs)
    return _loop(folder, spec, recipe, inputs, encoder, weights, stop)


def _loop(
    folder: RunFolder,
    spec: RunSpec,
    recipe: Recipe,
    inputs: _Inputs,
    encoder: Encoder,
    weights: Trained,
    stop: Stop,
) -> Loop[Any]:
    train, valid = inputs.train, inputs.valid
    limits = Limits(_max_tokens(encoder), spec.micro_batch)
    balanced = recipe.others.get("class_weights") == "balanced"
    objective = methods.METHODS[inputs.task.method].objective(
        encoder, train, valid, limits, balanced
    )
    batch_size = min(recipe.batch_size, len(train.rows))
    schedule = Bucketed(train.rows, batch_size, recipe.n_epochs, spec.seed)
    parameters = list(weights.parameters().values())
    decay = WEIGHT_DECAY[inputs.task.tuning]
    optimizer = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=decay, fused=True)
    selection = validation = None
    if valid is not None:
        validation = Validation.made(
            valid.rows, objective, schedule, lambda rows: headline(objective.evaluate(rows))
        )
        patience = recipe.others.get("early_stopping_patience")
        selection = Selection(weights, f"valid_{objective.metric}", patience=patience)
    print_of = fingerprint(encoder.device, choose_dtype(encoder.device))
    return Loop(
        folder=folder,
        recipe=recipe,
        schedule=schedule,
        objective=objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=validation,
        checkpoints=Checkpoints(folder, weights, optimizer, print_of, selection),
        stop=stop,
        selection=selection,
        reference=reference(inputs.task, train.rows, never=inputs.reader.unknown_id),
        notes=list(_notes(inputs)),
        last_files=lambda: _evaluation(objective, valid),
    )


def _notes(inputs: _Inputs) -> Iterator[str]:
    train, valid = inputs.train, inputs.valid
    yield from notes(train.rows, valid.rows if valid else (), inputs.task)
    if inputs.task.method == "question_answering":
        yield from notes_on_answers("training", train.examples, train.rows)
        if valid is not None:
            yield from notes_on_answers("validation", valid.examples, valid.rows)


def _max_tokens(encoder: Encoder) -> int:
    config = encoder.backbone.config
    size = max(SIZE_OF_MAX_TOKENS, config.num_hidden_layers * config.hidden_size)
    most = MAX_TOKENS[encoder.device.type] * SIZE_OF_MAX_TOKENS // size
    return max(FEWEST_TOKENS, int(most))


def _task(
    base: BaseModel, recipe: Recipe, method: Method, examples: methods.Examples, before: Task | None
) -> Task:
    """The task of the file; if training continues from a model, that model's."""
    length = min(base.context_length, recipe.others.get("max_length", base.context_length))
    own = replace(
        methods.METHODS[method].task_of(examples, length),
        tuning=recipe.others["tuning"],
        pooling="last" if base.kind == "causal" else "mean",
    )
    return own if before is None else continued(before, own)


def _inputs(
    folder: RunFolder, task: Task, model_folder: Path, examples: methods.Examples
) -> _Inputs:
    reader = Reader(load_tokenizer(model_folder), task.length)
    rows = methods.METHODS[task.method].rows_of(examples, task, reader)
    task = replace(task, familiar=familiar(rows, never=reader.unknown_id).to_text())
    return _Inputs(task, reader, Data(examples, rows), _valid(folder, task, reader))


def _valid(folder: RunFolder, task: Task, reader: Reader) -> Data | None:
    if not folder.valid.exists():
        return None
    examples = methods.read(task.method, folder.valid, param="validation_file")
    return Data(examples, methods.METHODS[task.method].rows_of(examples, task, reader))


def _model(
    folder: RunFolder, spec: RunSpec, base: BaseModel, model_folder: Path, inputs: _Inputs
) -> tuple[Encoder, Trained]:
    """A new model for the task, with the weights that the job continues from, if it does."""
    device = choose_device()
    dtype = choose_dtype(device)
    longest = max(row.size for data in (inputs.train, inputs.valid) if data for row in data.rows)
    encoder = Encoder(
        load_backbone(model_folder, dtype=dtype, device=device, longest=longest),
        inputs.task,
        inputs.reader,
        outputs=methods.outputs(inputs.task),
    )
    if inputs.task.tuning == "lora":
        put_lora(encoder, rank=LORA_RANK, alpha=LORA_ALPHA)
    else:
        train_whole(encoder, dtype)
    weights = Trained(encoder, spec.base_model, rank=LORA_RANK, alpha=LORA_ALPHA)
    if folder.init.exists():
        weights.load(folder.init)
    return encoder, weights


def _evaluation(objective: TaskObjective[Any], valid: Data | None) -> dict[str, bytes]:
    if valid is None:
        return {}
    report = objective.evaluate(valid.rows)
    return {EVALUATION: json.dumps(report, ensure_ascii=False, allow_nan=False).encode()}
