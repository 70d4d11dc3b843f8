"""From a run folder's spec to the training of an encoder whose parts are all made."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from app.catalog import CatalogModel
from worker.encoding.backbone import load_backbone, read_hidden_size
from worker.encoding.task import EncoderTask, Method
from worker.encoding.tokenizer import EncoderTokenizer
from worker.modeling import choose_device, choose_dtype, load_tokenizer, materialize
from worker.rundir import EVALUATION_FILE, RunFolder, RunSpec
from worker.training.best_weights import BestWeights
from worker.training.checkpoint import Checkpointer
from worker.training.encoders import methods
from worker.training.encoders.data_warnings import answer_length_warnings, dataset_warnings
from worker.training.encoders.drift_baseline import build_drift_baseline, build_vocab_coverage
from worker.training.encoders.length_grouped_sampler import LengthGroupedSampler
from worker.training.encoders.methods import DataSplit, MicroBatchLimits
from worker.training.encoders.metrics import scalar_metrics
from worker.training.encoders.model import Encoder, EncoderWeights, add_lora, enable_full_tuning
from worker.training.encoders.objective import EncoderObjective
from worker.training.encoders.recipe import WEIGHT_DECAY, choose_encoder_recipe
from worker.training.encoders.warm_start import (
    inherit_hyperparameters,
    inherit_task,
    read_initial_task,
)
from worker.training.environment import StopSignal, environment_fingerprint
from worker.training.loop import TrainingLoop
from worker.training.recipe import ADAM_BETAS, LORA_ALPHA, LORA_RANK, Recipe
from worker.training.validation import Validation

# Tokens of a micro-batch, for a model as large as MiniLM-L6; fewer for larger ones, which keep more
# of each token until the backward pass.
MAX_TOKENS = {"cpu": 4096, "cuda": 32768}
REFERENCE_MODEL_SIZE = 6 * 384
MIN_TOKENS = 512
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True)
class _TrainingInputs:
    """What is to be learned, in tokens."""

    task: EncoderTask
    tokenizer: EncoderTokenizer
    train: DataSplit
    valid: DataSplit | None


def build_training_loop(folder: RunFolder, spec: RunSpec, stop: StopSignal) -> TrainingLoop[Any]:
    """Read the data, load the model, choose the numbers.

    Raises faults.Fault and modeling.ModelUnavailable.
    """
    method: Method = next(name for name in METHODS if name == spec.method)
    base = CatalogModel.from_json(spec.model)
    model_folder = materialize(base, Path(spec.model_cache))
    examples = methods.read_examples(method, folder.train_file, param="training_file")
    before = read_initial_task(folder.init_adapter, method)
    asked = (
        spec.hyperparameters
        if before is None
        else inherit_hyperparameters(spec.hyperparameters, before)
    )
    width = read_hidden_size(model_folder)
    recipe = choose_encoder_recipe(method, asked, examples=len(examples), hidden_size=width)
    task = _build_task(base, recipe, method, examples, before)
    inputs = _build_inputs(folder, task, model_folder, examples)
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
    limits = MicroBatchLimits(_max_tokens(encoder), spec.micro_batch)
    balanced = recipe.extra.get("class_weights") == "balanced"
    objective = methods.METHODS[inputs.task.method].build_objective(
        encoder, train, valid, limits, balanced
    )
    batch_size = min(recipe.batch_size, len(train.rows))
    schedule = LengthGroupedSampler(train.rows, batch_size, recipe.n_epochs, spec.seed)
    parameters = list(weights.parameters().values())
    decay = WEIGHT_DECAY[inputs.task.tuning]
    optimizer = torch.optim.AdamW(parameters, betas=ADAM_BETAS, weight_decay=decay, fused=True)
    selection = validation = None
    if valid is not None:
        validation = Validation.for_training(
            valid.rows, objective, schedule, lambda rows: scalar_metrics(objective.evaluate(rows))
        )
        patience = recipe.extra.get("early_stopping_patience")
        selection = BestWeights(weights, f"valid_{objective.metric}", patience=patience)
    print_of = environment_fingerprint(encoder.device, choose_dtype(encoder.device))
    return TrainingLoop(
        folder=folder,
        recipe=recipe,
        sampler=schedule,
        objective=objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=validation,
        checkpointer=Checkpointer(folder, weights, optimizer, print_of, selection),
        stop=stop,
        best_weights=selection,
        drift_baseline=build_drift_baseline(
            inputs.task, train.rows, unk_id=inputs.tokenizer.unk_token_id
        ),
        data_warnings=list(_collect_warnings(inputs)),
        final_files=lambda: _evaluation_file(objective, valid),
    )


def _collect_warnings(inputs: _TrainingInputs) -> Iterator[str]:
    train, valid = inputs.train, inputs.valid
    yield from dataset_warnings(train.rows, valid.rows if valid else (), inputs.task)
    if inputs.task.method == "question_answering":
        yield from answer_length_warnings("training", train.examples, train.rows)
        if valid is not None:
            yield from answer_length_warnings("validation", valid.examples, valid.rows)


def _max_tokens(encoder: Encoder) -> int:
    config = encoder.backbone.config
    size = max(REFERENCE_MODEL_SIZE, config.num_hidden_layers * config.hidden_size)
    most = MAX_TOKENS[encoder.device.type] * REFERENCE_MODEL_SIZE // size
    return max(MIN_TOKENS, int(most))


def _build_task(
    base: CatalogModel,
    recipe: Recipe,
    method: Method,
    examples: methods.Examples,
    before: EncoderTask | None,
) -> EncoderTask:
    """The task of the file; if training continues from a model, that model's."""
    length = min(base.context_length, recipe.extra.get("max_length", base.context_length))
    own = replace(
        methods.METHODS[method].infer_task(examples, length),
        tuning=recipe.extra["tuning"],
        pooling="last" if base.kind == "causal" else "mean",
    )
    return own if before is None else inherit_task(before, own)


def _build_inputs(
    folder: RunFolder, task: EncoderTask, model_folder: Path, examples: methods.Examples
) -> _TrainingInputs:
    reader = EncoderTokenizer(load_tokenizer(model_folder), task.max_length)
    rows = methods.METHODS[task.method].build_rows(examples, task, reader)
    task = replace(
        task, vocab_coverage=build_vocab_coverage(rows, unk_id=reader.unk_token_id).to_base64()
    )
    return _TrainingInputs(
        task, reader, DataSplit(examples, rows), _read_validation_split(folder, task, reader)
    )


def _read_validation_split(
    folder: RunFolder, task: EncoderTask, reader: EncoderTokenizer
) -> DataSplit | None:
    if not folder.valid_file.exists():
        return None
    examples = methods.read_examples(task.method, folder.valid_file, param="validation_file")
    return DataSplit(examples, methods.METHODS[task.method].build_rows(examples, task, reader))


def _build_model(
    folder: RunFolder,
    spec: RunSpec,
    base: CatalogModel,
    model_folder: Path,
    inputs: _TrainingInputs,
) -> tuple[Encoder, EncoderWeights]:
    """A new model for the task, with the weights that the job continues from, if it does."""
    device = choose_device()
    dtype = choose_dtype(device)
    longest = max(row.size for data in (inputs.train, inputs.valid) if data for row in data.rows)
    encoder = Encoder(
        load_backbone(model_folder, dtype=dtype, device=device, max_length=longest),
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


def _evaluation_file(objective: EncoderObjective[Any], valid: DataSplit | None) -> dict[str, bytes]:
    if valid is None:
        return {}
    report = objective.evaluate(valid.rows)
    return {EVALUATION_FILE: json.dumps(report, ensure_ascii=False, allow_nan=False).encode()}
