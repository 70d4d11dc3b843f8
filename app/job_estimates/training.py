"""Estimate of a job's training by its rendered rows: numbers, steps, time and memory."""

import math
from functools import partial
from typing import Any

from app.catalog import GENERATIVE_METHODS
from app.http.dependencies import AppState, run_autocommit
from app.job_estimates import problems, rates
from app.job_estimates.checked_job import CheckedJob
from app.job_estimates.explanations import explain
from app.job_estimates.memory import estimate_comparison_memory, estimate_memory
from app.job_estimates.rates import DEFAULT_SETTINGS, JobPlan
from app.job_estimates.schemas import ResolvedValue, TrainingEstimate
from app.job_estimates.workload import Workload, count_workload
from app.recipes.chat import (
    CPU_MICRO_BATCH_TOKENS,
    BaseQuantization,
    Recipe,
    choose_dpo_recipe,
    choose_lora_settings,
    choose_recipe,
    drop_auto,
)
from app.recipes.encoders import (
    ENCODER_CPU_MICRO_BATCH_TOKENS,
    choose_encoder_recipe,
    scale_micro_batch_tokens,
)
from app.recipes.encoders import EPOCHS as ENCODER_EPOCHS
from app.training_data.statistics import MeasuredRows, describe_tokens
from app.wire.long_rows import get_default_policy
from app.wire.training_rows import ModelFacts


async def estimate_training(
    state: AppState,
    project_id: str,
    checked: CheckedJob,
    method: str,
    measured: MeasuredRows,
    validation: MeasuredRows | None,
) -> TrainingEstimate:
    """Estimate a job's training by the rendered rows of its training and its validation file."""
    hyperparameters, facts = checked.hyperparameters, measured.facts
    assert facts is not None
    packs = drop_auto(hyperparameters).get("packing", False)
    work = count_workload(measured, method, packs=packs)
    examples = max(1, count_workload(measured, method).rows if packs else work.rows)
    recipe = _choose_recipe(hyperparameters, method, examples, max(1, work.rows), facts)
    plan = _make_plan(checked, method, recipe, work, validation)
    find_rate = partial(rates.find_rate, project_id=project_id, plan=plan, facts=facts)
    rate = await run_autocommit(state, find_rate)
    seconds = round(rate.overhead_seconds + plan.trained_tokens / rate.tokens_per_second, 1)
    tokens = describe_tokens(measured)
    peak = estimate_memory(
        facts,
        _count_micro_batch_tokens(plan, facts, work.longest),
        plan.settings,
        rank=choose_lora_settings(hyperparameters).rank,
    )
    doubts = problems.list_doubts(
        measured,
        validation,
        rows=work.rows,
        tokens=plan.trained_tokens,
        seconds=seconds,
        max_tokens=state.settings.max_job_tokens,
        max_hours=state.settings.max_job_hours,
    )
    unknown = problems.find_unknown_modules(
        choose_lora_settings(hyperparameters).target_modules, facts
    )
    doubts += [] if unknown is None else [unknown]
    return TrainingEstimate(
        hyperparameters=_explain(checked, method, recipe, measured, examples, max(1, work.rows)),
        examples=checked.request.training.examples or 0,
        measured_examples=tokens.measured_examples,
        left_out_examples=tokens.left_out_examples,
        truncated_examples=tokens.truncated_examples,
        rows=max(1, work.rows),
        tokens_per_epoch=plan.tokens,
        trained_tokens=plan.trained_tokens,
        steps=plan.steps,
        seconds=seconds,
        rate=rate,
        peak_memory_bytes=peak,
        comparison_memory_bytes=estimate_comparison_memory(facts, peak)
        if plan.settings.get("quantization") == BaseQuantization.NF4
        else None,
        warnings=[*tokens.warnings, *doubts],
    )


def _make_plan(
    checked: CheckedJob,
    method: str,
    recipe: Recipe,
    work: Workload,
    validation: MeasuredRows | None,
) -> JobPlan:
    request, rows = checked.request, max(1, work.rows)
    settings = {**DEFAULT_SETTINGS, **recipe.extra}
    if "gradient_checkpointing" not in drop_auto(checked.hyperparameters):
        # The trainer decides by its memory.
        settings.pop("gradient_checkpointing")
    validated = None if validation is None else count_workload(validation, method)
    return JobPlan(
        base_model=request.base.id,
        method=method,
        settings=settings,
        has_validation_file=validated is not None,
        has_test_file=request.test is not None,
        epochs=recipe.n_epochs,
        steps=math.ceil(rows / min(recipe.batch_size, rows)) * recipe.n_epochs,
        tokens=work.tokens,
        computed_tokens=work.computed_tokens,
        validation_tokens=0 if validated is None else validated.computed_tokens,
    )


def _count_micro_batch_tokens(plan: JobPlan, facts: ModelFacts, longest: int) -> int:
    """Count the tokens of a forward pass on a CPU: a step's, as far as it is not divided."""
    most = (
        CPU_MICRO_BATCH_TOKENS
        if plan.method in GENERATIVE_METHODS
        else scale_micro_batch_tokens(
            ENCODER_CPU_MICRO_BATCH_TOKENS,
            num_layers=facts.num_layers,
            hidden_size=facts.hidden_size,
        )
    )
    of_step = plan.epochs * plan.computed_tokens / plan.steps
    return max(longest, min(most, math.ceil(of_step)))


def _explain(
    checked: CheckedJob,
    method: str,
    recipe: Recipe,
    measured: MeasuredRows,
    examples: int,
    rows: int,
) -> list[ResolvedValue]:
    """List the resolved hyperparameters, with how rows are read and which epoch is kept."""
    explicit = drop_auto(checked.hyperparameters)
    # Under the names that the job itself shows.
    own: dict[str, Any] = (
        {"max_seq_length": measured.max_tokens}
        if method in GENERATIVE_METHODS
        else {
            "max_length": measured.max_tokens,
            "class_weights": explicit.get("class_weights", "none"),
        }
    )
    resolved = {
        **recipe.report(),
        **own,
        "long_rows": str(measured.rendering.long_rows or get_default_policy(method)),
        "keep": "last" if checked.request.validation is None else explicit.get("keep", "best"),
    }
    if recipe.extra.get("tuning") != "full":
        resolved |= choose_lora_settings(checked.hyperparameters).report()
    return explain(
        checked.request.hyperparameters,
        resolved,
        method=method,
        examples=examples,
        rows=rows,
        inherited=checked.inherited,
    )


def _choose_recipe(
    hyperparameters: dict[str, Any], method: str, examples: int, rows: int, facts: ModelFacts
) -> Recipe:
    shape: dict[str, Any] = {
        "examples": examples,
        "hidden_size": facts.hidden_size,
        "model_type": facts.model_type,
    }
    for name in ENCODER_EPOCHS:
        if name == method:
            return choose_encoder_recipe(name, hyperparameters, **shape)
    choose = choose_dpo_recipe if method == "dpo" else choose_recipe
    return choose(hyperparameters, packs=rows, **shape)
