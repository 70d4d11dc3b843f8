"""Estimate of a job: the checks of its creation, then its rows, numbers, time and memory."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from app.catalog import GENERATIVE_METHODS, Catalog
from app.db.tables import File
from app.errors import InvalidRequest
from app.formats import FormatName
from app.http.dependencies import AppState, run_autocommit, run_in_transaction
from app.inference.engines import EngineClient
from app.job_estimates import rates
from app.job_estimates.explanations import explain
from app.job_estimates.schemas import (
    EstimateProblem,
    JobEstimate,
    QueuePlace,
    TrainingEstimate,
    TrainingRate,
)
from app.jobs import file_checks, service
from app.jobs.job_rules import JobRules
from app.jobs.project_queue import find_project_queue
from app.jobs.schemas import CreateJob
from app.jobs.service import CheckedRequest
from app.recipes.chat import (
    CPU_MICRO_BATCH_TOKENS,
    NF4_BYTES_PER_WEIGHT,
    BaseQuantization,
    Recipe,
    choose_dpo_recipe,
    choose_lora_settings,
    choose_recipe,
)
from app.recipes.encoders import EPOCHS as ENCODER_EPOCHS
from app.recipes.encoders import choose_encoder_recipe
from app.settings import Settings
from app.training_data.cache import TrainingDataCache
from app.training_data.lengths import LengthDistribution
from app.training_data.rendering import RowRendering
from app.training_data.statistics import (
    MAX_READ_BYTES,
    MeasuredRows,
    describe_tokens,
    measure_rows,
)
from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import ModelFacts

# Of the training process without a model, and of a token of a micro-batch: the activations that a
# layer keeps for the backward pass, per unit of the model's width. Measured on CPUs.
PROCESS_BYTES = 600 * 2**20
ACTIVATION_BYTES_PER_UNIT = 24
# The last tokens of a reference model's pass over the pairs of DPO, before the first step.
REFERENCE_PASS_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class _Checked:
    """A valid request for a job, with the project's queue."""

    request: CheckedRequest
    queue: QueuePlace


async def estimate(
    state: AppState,
    engines: EngineClient,
    cache: TrainingDataCache,
    project_id: str,
    body: CreateJob,
) -> JobEstimate:
    """Estimate a job without creating it.

    Raises what its creation raises, except for a full queue; InvalidRequest if the part of the
    training file that is read has no example; and ServiceUnavailable if the rows cannot be rendered
    now.
    """
    check = partial(
        _check, settings=state.settings, catalog=state.catalog, body=body, project_id=project_id
    )
    checked = await run_in_transaction(state, check)
    request, method = checked.request, body.method_type
    failure = file_checks.find_failure(method, request.training, request.validation, request.test)
    problem = None
    training = None
    if failure is not None:
        problem = EstimateProblem(code=failure.code, message=failure.message, param=failure.param)
    else:
        async with cache.slots.slot():
            measured = await _measure(state, engines, cache, request, method)
        problem = find_nothing_learned(measured, method)
        if problem is None:
            training = await _estimate_training(state, project_id, request, method, measured)
    return JobEstimate(
        model=request.start_model or request.base.id,
        method=method,
        training_file=request.training.id,
        queue=checked.queue,
        problem=problem,
        training=training,
    )


def _check(
    session: Session, *, settings: Settings, catalog: Catalog, body: CreateJob, project_id: str
) -> _Checked:
    request = service.check(
        session, JobRules.from_settings(settings, catalog), project_id, body
    )
    queue = find_project_queue(
        session,
        project_id,
        max_queued=settings.max_queued_jobs_per_project,
        max_running=settings.max_running_jobs_per_project,
    )
    return _Checked(
        request,
        QueuePlace(
            queued_jobs=queue.queued,
            max_queued_jobs=queue.max_queued or None,
            running_jobs=queue.running,
            max_running_jobs=queue.max_running or None,
            has_room=queue.has_queue_room,
            is_next_in_project=not queue.queued and queue.may_start,
        ),
    )


async def _measure(
    state: AppState,
    engines: EngineClient,
    cache: TrainingDataCache,
    request: CheckedRequest,
    method: str,
) -> MeasuredRows:
    file: File = request.training
    assert file.format is not None
    chosen = request.hyperparameters
    length = chosen.get("max_length", "auto")
    length = chosen.get("max_seq_length", "auto") if length == "auto" else length
    policy = chosen.get("long_rows", "auto")
    rendering = RowRendering(
        request.base,
        method,
        file.format,
        max_tokens=None if length == "auto" else int(length),
        long_rows=None if policy == "auto" else LongRowPolicy(policy),
        thinking=await cache.reasoning.find(state, file),
        include_facts=True,
    )
    scan, _ = await cache.scans.get(state, file)
    if not scan.sample:
        raise InvalidRequest(
            f"The first {MAX_READ_BYTES} bytes of the training file, by which a job is estimated, "
            "have no example. Remove the blank lines before the first one.",
            param="training_file",
        )
    return await measure_rows(engines, file.project_id, rendering, scan)


async def _estimate_training(
    state: AppState,
    project_id: str,
    request: CheckedRequest,
    method: str,
    measured: MeasuredRows,
) -> TrainingEstimate:
    facts = measured.facts
    assert facts is not None
    tokens = describe_tokens(measured)
    rows = max(1, count_rows(measured, method))
    per_epoch = tokens.tokens_per_epoch * (2 if _is_paired(measured, method) else 1)
    recipe = _choose_recipe(request.hyperparameters, method, rows, facts)
    if recipe.extra.get("packing"):
        rows = max(1, math.ceil(per_epoch / measured.max_tokens))
    trained = per_epoch * recipe.n_epochs
    steps = math.ceil(rows / min(recipe.batch_size, rows)) * recipe.n_epochs

    def find_rate(session: Session) -> TrainingRate | None:
        return rates.find_recent_rate(
            session,
            project_id,
            request.base.id,
            method,
            tokens_per_step=trained / steps,
        )

    is_full = recipe.extra.get("tuning") == "full"
    rate = await run_autocommit(state, find_rate)
    if rate is None:
        rate = rates.derive_rate(facts, steps=steps, trains_all_weights=is_full)
        if method == "dpo":
            extra = REFERENCE_PASS_SHARE * per_epoch / rate.tokens_per_second
            rate.overhead_seconds = round(rate.overhead_seconds + extra, 1)
    resolved = {**recipe.report(), "max_seq_length": measured.max_tokens}
    if method in GENERATIVE_METHODS or not is_full:
        resolved |= choose_lora_settings(request.hyperparameters).report()
    return TrainingEstimate(
        hyperparameters=explain(request.hyperparameters, resolved, method=method, examples=rows),
        examples=request.training.examples or 0,
        measured_examples=tokens.measured_examples,
        left_out_examples=tokens.left_out_examples,
        truncated_examples=tokens.truncated_examples,
        rows=rows,
        tokens_per_epoch=per_epoch,
        trained_tokens=trained,
        steps=steps,
        seconds=round(rate.overhead_seconds + trained / rate.tokens_per_second, 1),
        rate=rate,
        peak_memory_bytes=estimate_memory(
            facts,
            tokens.sequences,
            trains_all_weights=is_full,
            is_quantized=recipe.extra.get("quantization") == BaseQuantization.NF4,
        ),
        warnings=tokens.warnings,
    )


def find_nothing_learned(measured: MeasuredRows, method: str) -> EstimateProblem | None:
    """A problem if the whole file was measured, and training would find nothing to learn in it."""
    if measured.scale > 1 or count_rows(measured, method):
        return None
    reason = next((f" Of the first: {row.note}" for row in measured.rows if row.note), "")
    return EstimateProblem(
        code="invalid_training_file",
        message=f"None of the training file's {len(measured.rows)} examples can be learned: the "
        f"job would fail. Change them, or how long rows may be.{reason}",
        param="training_file",
    )


def count_rows(measured: MeasuredRows, method: str) -> int:
    """Estimate the rows of an epoch: sequences with loss, pairs of them, or an encoder's texts."""
    learned = measured.learned
    if method == "supervised":
        rows = sum(bool(each.loss_token_count) for row in learned for each in row.sequences)
    elif method == "question_answering":
        rows = sum(len(row.sequences) for row in learned)
    else:
        rows = len(learned)
    return round(measured.scale * rows)


def _is_paired(measured: MeasuredRows, method: str) -> bool:
    """True if each labelled text is embedded with another one of its label."""
    return method == "embedding" and measured.rendering.format == FormatName.CLASSIFICATION


def _choose_recipe(
    hyperparameters: dict[str, Any], method: str, examples: int, facts: ModelFacts
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
    return choose(hyperparameters, **shape)


def estimate_memory(
    facts: ModelFacts,
    sequences: LengthDistribution | None,
    *,
    trains_all_weights: bool,
    is_quantized: bool = False,
) -> int:
    """Estimate the peak of a training process in bytes: weights, optimizer, activations."""
    weights = facts.num_parameters * facts.bytes_per_parameter
    if is_quantized:
        saved = facts.bytes_per_parameter - NF4_BYTES_PER_WEIGHT
        weights -= round(facts.layer_parameters * saved)
    # Gradients, and both moments of Adam, in float32.
    trained = 12 * facts.layer_parameters if trains_all_weights else 0
    longest = 0 if sequences is None else sequences.maximum
    tokens = max(CPU_MICRO_BATCH_TOKENS, longest)
    activations = tokens * facts.num_layers * facts.hidden_size * ACTIVATION_BYTES_PER_UNIT
    return PROCESS_BYTES + weights + trained + activations
