"""Builds the training loop of a job from its run folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from app.catalog import CatalogModel
from app.recipes.chat import (
    LoraSettings,
    Recipe,
    choose_dpo_recipe,
    choose_lora_settings,
    choose_recipe,
    drop_auto,
)
from app.wire.long_rows import LongRowPolicy, get_default_policy
from worker.encoding.task import Method
from worker.model.generation_config import read_generation_config
from worker.model.rendering import Renderer, RenderingOptions
from worker.model_sources import materialize
from worker.modeling import (
    adapter_parameters,
    choose_device,
    choose_dtype,
    load_adapter,
    set_adapter_weights,
)
from worker.run_folder import RunFolder, RunSpec
from worker.training.adapted_llama import AdaptedModel, BaseModel
from worker.training.adapter_settings import (
    check_target_modules,
    inherit_settings,
    list_linear_layers,
)
from worker.training.base_loading import (
    load_base_as_wanted,
    wants_sharded_base,
)
from worker.training.best_weights import BestWeights
from worker.training.chat_data import (
    OTHER_DATA_WARNING,
    ChatData,
    digest_rows,
    has_reasoning,
    make_progress_reporter,
)
from worker.training.checkpoint import Checkpointer
from worker.training.comparison_building import ServingComparison, build_comparison
from worker.training.divergence import DivergenceDetector
from worker.training.environment import StopSignal, get_environment_fingerprint
from worker.training.errors import user_error
from worker.training.job_kernels import find_job_kernels
from worker.training.loop import TrainingLoop
from worker.training.memory_plan import plan_recomputation
from worker.training.objective_building import build_dpo, build_supervised
from worker.training.objectives.dpo import DpoObjective, read_pairs
from worker.training.objectives.supervised import SupervisedObjective, read_rows
from worker.training.optimizer import build_optimizer
from worker.training.packing import PackedObjective, pack_rows
from worker.training.preloading import add_adapter, make_renderer
from worker.training.ranks import ALONE, Ranks
from worker.training.ref_logprobs import RefLogprobsPrecomputer
from worker.training.rendered_rows import compute_key, read_files
from worker.training.sampler import EpochSampler
from worker.training.start_comparison import StartComparison
from worker.training.validation import Validation
from worker.training.weights import AdapterWeights

Objective = SupervisedObjective | DpoObjective


@dataclass(frozen=True, slots=True)
class _ChatMethod:
    """Functions that implement a method of causal models."""

    read_rows: Callable[..., ChatData[Any]]
    choose_recipe: Callable[..., Recipe]
    build_objective: Callable[[RunSpec, Recipe, AdaptedModel, Sequence[Any], Ranks], Objective]


def build_training_loop(
    folder: RunFolder, spec: RunSpec, stop: StopSignal, ranks: Ranks = ALONE
) -> tuple[TrainingLoop[Any], ServingComparison | None]:
    """Read the data, load the model and resolve the hyperparameters.

    With the loop comes the comparison with the engine that follows, for chat models. Raises
    TrainingError and ModelUnavailable.
    """
    if spec.method in get_args(Method):
        # Not before it is needed: scikit-learn and SciPy take long to import.
        from worker.training.encoders import builder

        return builder.build_training_loop(folder, spec, stop), None
    if spec.method not in CHAT_METHODS:
        raise user_error("invalid_method", f"Unknown method {spec.method!r}.", "method")
    method = CHAT_METHODS[spec.method]
    model_folder = materialize(CatalogModel.from_json(spec.model), Path(spec.model_cache))
    renderer = make_renderer(
        model_folder,
        _max_seq_length(spec),
        eos_ids=read_generation_config(model_folder).eos_ids,
        options=RenderingOptions(now=spec.rendered_at, thinking=has_reasoning(folder.train_file)),
    )
    long_rows = LongRowPolicy(
        drop_auto(spec.hyperparameters).get("long_rows", get_default_policy(spec.method))
    )
    read = partial(
        method.read_rows, long_rows=long_rows, report_progress=make_progress_reporter(folder)
    )
    key = compute_key(model_folder, renderer, method=spec.method, long_rows=long_rows)
    data, validation_rows = ranks.in_turn(lambda: read_files(folder, renderer, read, key))
    device = choose_device()
    base = load_base_as_wanted(spec, model_folder, device, ranks)
    hidden_size = base.config.get_text_config().hidden_size
    rows = _pack(spec, data.rows, renderer.context_length)
    recipe = method.choose_recipe(
        spec.hyperparameters,
        examples=len(data.rows),
        packs=len(rows),
        hidden_size=hidden_size,
        model_type=base.config.get_text_config().model_type,
    )
    model, lora = _build_model(folder, spec, base)
    if wants_sharded_base(spec, ranks):
        # Not before it is needed: torch's sharding takes long to import.
        from worker.training.sharding import shard_base

        shard_base(model, ranks, device)
    reported = {
        **lora.report(),
        **_report_rows(spec, renderer, long_rows, validation_rows),
        **plan_recomputation(spec, model, data.rows, ranks),
    }
    recipe = replace(recipe, extra={**recipe.extra, **reported})
    loop = _build_loop(folder, spec, stop, ranks, recipe, model, rows, validation_rows)
    loop = _with_rendering(loop, model, renderer, data)
    comparison = build_comparison(loop, folder, spec, model_folder, model, renderer)
    # Last: this phase reads and writes checkpoints before the loop does.
    if isinstance(loop.objective, DpoObjective):
        loop = _with_ref_logprobs(loop, loop.objective)
    return loop, comparison


def _with_rendering(
    loop: TrainingLoop[Any], model: AdaptedModel, renderer: Renderer, data: ChatData[Any]
) -> TrainingLoop[Any]:
    """Save the rendering's options with the adapter, and begin again if the rows have changed."""
    checkpointer = replace(
        loop.checkpointer,
        weights=AdapterWeights(model, renderer.adapter_metadata),
        data_digest=digest_rows(data.rows),
    )
    has_other_data = loop.ranks.in_turn(checkpointer.discard_other_data)
    return replace(
        loop,
        checkpointer=checkpointer,
        has_other_data=has_other_data,
        data_warnings=[*data.warnings, *([OTHER_DATA_WARNING] if has_other_data else [])],
    )


def _build_loop(
    folder: RunFolder,
    spec: RunSpec,
    stop: StopSignal,
    ranks: Ranks,
    recipe: Recipe,
    model: AdaptedModel,
    rows: Sequence[Any],
    validation_rows: Sequence[Any],
) -> TrainingLoop[Any]:
    parameters = list(adapter_parameters(model).values())
    weights = AdapterWeights(model)
    dtype = choose_dtype(model.device)
    optimizer = build_optimizer(
        parameters,
        weight_decay=recipe.weight_decay,
        kernels=find_job_kernels(spec, dtype, model.device),
        # Ranks add gradients in their dtype: sums in bfloat16 would be rounded.
        are_wide=ranks.count > 1,
    )
    objective = CHAT_METHODS[spec.method].build_objective(
        spec, recipe, model, [*rows, *validation_rows], ranks
    )
    training_objective: Any = objective
    if recipe.extra.get("packing"):
        training_objective = PackedObjective(objective)
    sampler = EpochSampler(rows, recipe.batch_size, recipe.n_epochs, spec.seed)
    best_weights = _build_best_weights(spec, weights) if validation_rows else None
    return TrainingLoop(
        folder=folder,
        recipe=recipe,
        sampler=sampler,
        objective=training_objective,
        parameters=parameters,
        optimizer=optimizer,
        validation=Validation.for_training(validation_rows, objective, sampler, ranks=ranks)
        if validation_rows
        else None,
        checkpointer=Checkpointer(
            folder,
            weights,
            optimizer,
            get_environment_fingerprint(model.device, dtype, processes=ranks.count, int8=spec.int8),
            best_weights,
            recipe=recipe.report(),
        ),
        stop=stop,
        divergence=DivergenceDetector(sampler.total_steps),
        ranks=ranks,
        best_weights=best_weights,
        # All would have the same result.
        start_comparison=StartComparison(
            validation_rows or rows,
            objective if validation_rows else training_objective,
            role="validation" if validation_rows else "training",
            trained_tokens=recipe.n_epochs * training_objective.num_tokens(rows),
            report_progress=make_progress_reporter(folder),
        )
        if ranks.is_first
        else None,
    )


def _max_seq_length(spec: RunSpec) -> int:
    length = int(spec.model["context_length"])
    return min(length, int(drop_auto(spec.hyperparameters).get("max_seq_length", length)))


def _report_rows(
    spec: RunSpec,
    renderer: Renderer,
    long_rows: LongRowPolicy,
    validation_rows: Sequence[Any],
) -> dict[str, Any]:
    """Report how rows are read and which epoch is kept."""
    explicit = drop_auto(spec.hyperparameters)
    keep = explicit.get("keep", "best") if validation_rows else "last"
    patience = explicit.get("early_stopping_patience")
    return {
        "max_seq_length": renderer.context_length,
        "long_rows": str(long_rows),
        "keep": keep,
        **({} if patience is None else {"early_stopping_patience": patience}),
    }


def _pack(spec: RunSpec, rows: Sequence[Any], max_tokens: int) -> Sequence[Any]:
    is_packed = drop_auto(spec.hyperparameters).get("packing", False)
    return pack_rows(rows, max_tokens) if is_packed else rows


def _build_best_weights(spec: RunSpec, weights: AdapterWeights) -> BestWeights:
    explicit = drop_auto(spec.hyperparameters)
    return BestWeights(
        weights,
        "full_valid_loss",
        patience=explicit.get("early_stopping_patience"),
        keep=explicit.get("keep", "best") == "best",
    )


def _with_ref_logprobs(loop: TrainingLoop[Any], objective: DpoObjective) -> TrainingLoop[Any]:
    """Add a first phase that computes reference log-probabilities, saved with each checkpoint."""
    checkpointer = replace(loop.checkpointer, extra_files=objective.ref_logprobs.to_files)
    first_epoch = [loop.sampler.batch(step + 1) for step in range(loop.sampler.steps_per_epoch)]
    validation = [] if loop.validation is None else [loop.validation.rows]
    precomputer = RefLogprobsPrecomputer(
        objective.ref_logprobs,
        [*first_epoch, *validation],
        objective,
        loop.folder,
        checkpointer,
        loop.stop,
        loop.ranks,
    )
    return replace(loop, checkpointer=checkpointer, prepare=precomputer.run)


def _build_model(
    folder: RunFolder, spec: RunSpec, base: BaseModel
) -> tuple[AdaptedModel, LoraSettings]:
    """Put a new adapter on `base`, or the adapter that this job continues from."""
    settings = choose_lora_settings(spec.hyperparameters)
    initial = load_adapter(folder.init_adapter) if folder.init_adapter.exists() else None
    if initial is not None:
        settings = inherit_settings(settings, initial, list_linear_layers(base))
    check_target_modules(settings, base)
    model = add_adapter(base, settings, base_model=spec.base_model, seed=spec.seed)
    if initial is not None:
        set_adapter_weights(model, initial.tensors)
    return model, settings


CHAT_METHODS: Mapping[str, _ChatMethod] = {
    "supervised": _ChatMethod(read_rows, choose_recipe, build_supervised),
    "dpo": _ChatMethod(read_pairs, choose_dpo_recipe, build_dpo),
}
