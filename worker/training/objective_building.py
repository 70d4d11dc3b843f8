"""Builds the objectives of chat and preference jobs on a model with an adapter."""

from collections.abc import Sequence
from typing import Any

from app.recipes.chat import CPU_MICRO_BATCH_TOKENS, Recipe
from worker.run_folder import RunSpec
from worker.training import llama
from worker.training.adapted_llama import AdaptedModel
from worker.training.base_loading import wants_quantized_base, wants_sharded_base
from worker.training.forward import CausalLM, choose_causal_lm
from worker.training.frozen_product import log_unused_int8
from worker.training.job_kernels import choose_kernels_folder
from worker.training.memory_plan import limit_tokens
from worker.training.micro_batch_limits import MicroBatchLimits, reduce_limits
from worker.training.objectives.dpo import DpoObjective
from worker.training.objectives.supervised import SupervisedObjective
from worker.training.ranks import Ranks
from worker.training.ref_logprobs import RefLogprobs

# Tokens per micro-batch: enough to keep the matrix units busy, few enough for caches and memory.
MAX_TOKENS = {"cpu": CPU_MICRO_BATCH_TOKENS, "cuda": 8192}


def build_supervised(
    spec: RunSpec, recipe: Recipe, model: AdaptedModel, rows: Sequence[Any], ranks: Ranks
) -> SupervisedObjective:
    """Build the objective of supervised training."""
    limits = _choose_limits(spec, recipe, model)
    return SupervisedObjective(
        _choose_causal_lm(spec, recipe, model, ranks),
        model.device,
        label_smoothing=recipe.extra["label_smoothing"],
        max_tokens=limits.max_tokens,
        max_rows=limits.max_rows,
    )


def build_dpo(
    spec: RunSpec, recipe: Recipe, model: AdaptedModel, rows: Sequence[Any], ranks: Ranks
) -> DpoObjective:
    """Build the objective of DPO, whose reference log-probabilities are still to compute."""
    limits = _choose_limits(spec, recipe, model)
    return DpoObjective(
        _choose_causal_lm(spec, recipe, model, ranks),
        model.device,
        RefLogprobs(rows),
        beta=recipe.extra["beta"],
        label_smoothing=recipe.extra["label_smoothing"],
        max_tokens=limits.max_tokens,
        max_rows=limits.max_rows,
    )


def _choose_causal_lm(spec: RunSpec, recipe: Recipe, model: AdaptedModel, ranks: Ranks) -> CausalLM:
    options: dict[str, Any] = {
        name: recipe.extra[name] for name in ("neftune_alpha", "gradient_checkpointing")
    }
    if wants_sharded_base(spec, ranks):
        from worker.training.sharding import ShardedCausalLM

        if spec.int8:
            log_unused_int8("the base model is divided among processes")
        return ShardedCausalLM(model, ranks, **options)
    return choose_causal_lm(
        model,
        **options,
        kernels=choose_kernels_folder(spec),
        multiplies_int8=spec.int8 and _can_multiply_int8(spec, model),
    )


def _can_multiply_int8(spec: RunSpec, model: AdaptedModel) -> bool:
    """True if nothing of the job prevents it; the processor's kernels may lack the products."""
    if wants_quantized_base(spec):
        reason = "the base model's weights have 4 bits"
    elif not llama.supports(model):
        reason = "the base model is not Llama-shaped"
    else:
        return True
    log_unused_int8(reason)
    return False


def _choose_limits(spec: RunSpec, recipe: Recipe, model: AdaptedModel) -> MicroBatchLimits:
    max_tokens = limit_tokens(
        model,
        MAX_TOKENS[model.device.type],
        recomputes=recipe.extra["gradient_checkpointing"],
    )
    return reduce_limits(max_tokens, spec.micro_batch, recipe.batch_size)
