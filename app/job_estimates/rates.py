"""Rates of training: those of a project's recent jobs, or by the speed of the machine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median, median_low
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, Select, cast, func, select, text
from sqlalchemy.orm import Session

from app.catalog import GENERATIVE_METHODS
from app.db.tables import EventType, Job, JobEvent, JobState, TrainerProcess
from app.job_estimates.schemas import RateSource, TrainingRate
from app.wire.training_rows import ModelFacts

# Jobs that are looked at, and those of the most similar steps that are averaged.
MAX_RECENT_JOBS = 20
MAX_SIMILAR_JOBS = 5
# A step of few tokens takes nearly as long as one of more: jobs with other steps say little.
MAX_STEP_RATIO = 2.0
# The first step also makes what the others find: a rate is that of the others, if there are enough.
MIN_STEPS_AFTER_FIRST = 3
# Share of the rate of large products that training reaches: attention, pointwise operations and
# products of adapters take the rest. Measured on CPUs.
UTILIZATION = 0.45
# Operations per parameter of a layer and token: 2 forward, 2 for the gradients of activations; as
# many for those of the weights, if all are trained, and to compute activations again.
OPERATIONS_OF_ADAPTERS = 4
OPERATIONS_OF_ALL_WEIGHTS = 6
OPERATIONS_OF_RECOMPUTATION = 2
# Of a training step, a pass without gradients: of a reference model, or of validation.
FORWARD_SHARE = 1 / 3
# Batches of the validation file that are measured between its whole passes, in a job.
SAMPLED_EVALUATIONS = 20
# Of a job: start of the process and uploads; load of the model and checks of what was trained.
OVERHEAD_SECONDS = 0.6
OVERHEAD_SECONDS_PER_BILLION_PARAMETERS = 7.0
# Of the first job after a start: what the process still loads from which others are forked; and of
# the first on each chat model, its comparison with the engine.
START_SECONDS = 0.5
START_SECONDS_PER_BILLION_PARAMETERS = 15.0
# Of a step of any size: the weights are read twice at this rate, and each layer calls operations.
MEMORY_BYTES_PER_SECOND = 10e9
STEP_SECONDS_PER_LAYER = 5e-4
# Weights of 4 bits are restored for both passes of a micro-batch, at this rate.
RESTORED_WEIGHTS_PER_SECOND = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """Work of a job: its rate is that of jobs which are equal in the first five fields.

    `settings` are those of the resolved hyperparameters on which the time of a step depends, but
    for those that the trainer will choose.
    Numbers of tokens are of one epoch, `computed_tokens` those that go through the model.
    """

    base_model: str
    method: str
    settings: Mapping[str, Any]
    has_validation_file: bool
    has_test_file: bool
    epochs: int
    steps: int
    tokens: int
    computed_tokens: int
    validation_tokens: int = 0

    @property
    def trained_tokens(self) -> int:
        return self.epochs * self.tokens

    @property
    def tokens_per_step(self) -> float:
        return self.trained_tokens / max(1, self.steps)


@dataclass(frozen=True, slots=True, order=True)
class _MeasuredJob:
    """Rate of a job, sorted by how much its steps differ in size; `overhead` is in seconds."""

    distance: float
    speed: float = field(compare=False)
    overhead: float = field(compare=False)


# Settings of jobs that have none of their own, as those of earlier versions.
DEFAULT_SETTINGS = {"tuning": "lora", "quantization": "none", "gradient_checkpointing": False}


def find_rate(session: Session, project_id: str, plan: JobPlan, facts: ModelFacts) -> TrainingRate:
    """Find the rate of the project's recent jobs, else that by the machine's speed; its overhead
    includes what the first job after a start loads for later ones."""
    rate = find_recent_rate(
        session,
        project_id,
        plan,
        usual_overhead=derive_overhead(facts),
        step_seconds=derive_step_seconds(facts, plan),
    ) or derive_rate(facts, plan)
    start = _derive_start(session, project_id, plan, facts)
    rate.overhead_seconds += start
    return rate


def _derive_start(session: Session, project_id: str, plan: JobPlan, facts: ModelFacts) -> float:
    """Derive the seconds of what no job of the project has loaded since the trainers started."""
    started = select(func.max(TrainerProcess.started_at)).scalar_subquery()
    since = (
        select(Job.base_model)
        .where(
            Job.project_id == project_id,
            Job.state == JobState.SUCCEEDED,
            # Before trainers have reported, all jobs count.
            Job.finished_at > func.coalesce(started, text("'-infinity'::timestamptz")),
        )
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(MAX_RECENT_JOBS)
    )
    trained = set(session.scalars(since))
    seconds = 0 if trained else START_SECONDS
    if plan.method in GENERATIVE_METHODS and plan.base_model not in trained:
        seconds += START_SECONDS_PER_BILLION_PARAMETERS * facts.num_parameters / 1e9
    return seconds


def find_recent_rate(
    session: Session,
    project_id: str,
    plan: JobPlan,
    *,
    usual_overhead: float,
    step_seconds: float = 0,
) -> TrainingRate | None:
    """Find the rate of the project's recent jobs with steps of similar size, if it has any.

    The overhead of a single job is no more than `usual_overhead`: it may have been the first after
    a start. `step_seconds` are those of a step of any size, by which rates are converted.
    """
    jobs = session.execute(_select_recent(project_id, plan))
    found = (_measure(row, plan, step_seconds) for row in jobs)
    measured = sorted(each for each in found if each is not None)
    similar = [each for each in measured if each.distance <= math.log(MAX_STEP_RATIO)]
    similar = similar[:MAX_SIMILAR_JOBS]
    if not similar:
        return None
    overheads = [each.overhead for each in similar]
    overhead = median_low(overheads) if len(overheads) > 1 else min(overheads[0], usual_overhead)
    speed = median(each.speed for each in similar)
    return TrainingRate(
        tokens_per_second=speed,
        overhead_seconds=overhead + _count_reference_tokens(plan) / speed,
        source=RateSource.RECENT_JOBS,
        jobs=len(similar),
    )


def _select_recent(project_id: str, plan: JobPlan) -> Select[Any]:
    """Select the project's recent jobs whose steps do the same, with their metrics."""
    metrics = select(JobEvent.data).where(
        JobEvent.job_id == Job.id, JobEvent.type == EventType.METRICS
    )
    first, last = (
        metrics.order_by(order).limit(1).scalar_subquery()
        for order in (JobEvent.seq, JobEvent.seq.desc())
    )
    settings = [
        func.coalesce(_read_setting(name), _to_text(default)) == _to_text(plan.settings[name])
        for name, default in DEFAULT_SETTINGS.items()
        if name in plan.settings
    ]
    return (
        select(
            Job.trained_tokens.label("tokens"),
            Job.trained_seconds.label("seconds"),
            Job.total_steps.label("steps"),
            cast(_read_setting("n_epochs"), Integer).label("epochs"),
            first.label("first"),
            last.label("last"),
        )
        .where(
            Job.project_id == project_id,
            Job.state == JobState.SUCCEEDED,
            Job.base_model == plan.base_model,
            Job.method == plan.method,
            Job.validation_file_id.is_not(None) == plan.has_validation_file,
            Job.test_file_id.is_not(None) == plan.has_test_file,
            # Interrupted jobs were held by trainers for longer than they take.
            Job.attempt == 1,
            Job.trained_tokens > 0,
            *settings,
        )
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(MAX_RECENT_JOBS)
    )


def _read_setting(name: str) -> ColumnElement[str | None]:
    return func.jsonb_extract_path_text(Job.resolved_hyperparameters, name)


def _to_text(value: object) -> str:
    """The value as Postgres writes it when it is taken from JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _measure(job: Row[Any], plan: JobPlan, step_seconds: float) -> _MeasuredJob | None:
    """Measure a job's rate by its metrics, for steps of the plan's size; None if it has none."""
    # The last average of tokens per second, with validation and checkpoints.
    speed = (job.last or {}).get("tokens_per_second")
    if not isinstance(speed, int | float) or speed <= 0:
        return None
    steps = max(1, job.steps or 1)
    speed = _leave_out_first_step(job, steps, speed)
    size = max(1.0, job.tokens / steps)
    overhead = job.seconds - job.tokens / speed
    if plan.method == "dpo":
        overhead -= FORWARD_SHARE * job.tokens / max(1, job.epochs or 1) / speed
    wanted = max(1.0, plan.tokens_per_step)
    step = size / speed
    fixed = min(step_seconds, step / 2)
    speed = wanted / (fixed + (step - fixed) * wanted / size)
    return _MeasuredJob(abs(math.log(size / wanted)), speed, max(0.0, overhead))


def _leave_out_first_step(job: Row[Any], steps: int, speed: float) -> float:
    """Compute the rate of the steps after the first from that of all, if there are enough."""
    first = job.first or {}
    total, first_speed, left = (
        first.get(name, 0) for name in ("total_steps", "tokens_per_second", "seconds_left")
    )
    if first.get("step") != 1 or min(steps, total) <= MIN_STEPS_AFTER_FIRST or left <= 0:
        return speed
    # The time left was that of the first step for each other one.
    seconds = left / (total - 1)
    others = job.tokens / speed - seconds
    tokens = job.tokens - first_speed * seconds
    return tokens / others if others > 0 and tokens > 0 else speed


def derive_rate(facts: ModelFacts, plan: JobPlan) -> TrainingRate:
    """Derive a rate from the machine's speed and the model's size."""
    speed = UTILIZATION * facts.gigaflops * 1e9 / max(1, _count_operations(facts, plan))
    if plan.computed_tokens:
        # Of all tokens, some of which go through the model once for two rows.
        speed *= plan.tokens / plan.computed_tokens
    forwards = _count_reference_tokens(plan) + _count_validation_tokens(plan)
    overhead = derive_overhead(facts) + plan.steps * derive_step_seconds(facts, plan)
    return TrainingRate(
        tokens_per_second=speed,
        overhead_seconds=overhead + forwards / speed,
        source=RateSource.MACHINE,
        jobs=0,
    )


def derive_overhead(facts: ModelFacts) -> float:
    """Derive the seconds of a job before and after its steps from the model's size."""
    return OVERHEAD_SECONDS + OVERHEAD_SECONDS_PER_BILLION_PARAMETERS * facts.num_parameters / 1e9


def _count_operations(facts: ModelFacts, plan: JobPlan) -> int:
    """Count the operations of a token in training."""
    is_full = plan.settings.get("tuning") == "full"
    operations = OPERATIONS_OF_ALL_WEIGHTS if is_full else OPERATIONS_OF_ADAPTERS
    if plan.settings.get("gradient_checkpointing"):
        operations += OPERATIONS_OF_RECOMPUTATION
    return operations * facts.layer_parameters


def derive_step_seconds(facts: ModelFacts, plan: JobPlan) -> float:
    """Derive what a step takes of any number of tokens."""
    read = 2 * facts.num_parameters * facts.bytes_per_parameter / MEMORY_BYTES_PER_SECOND
    seconds = read + STEP_SECONDS_PER_LAYER * facts.num_layers
    if plan.settings.get("quantization") == "nf4":
        seconds += 2 * facts.layer_parameters / RESTORED_WEIGHTS_PER_SECOND
    return seconds


def _count_reference_tokens(plan: JobPlan) -> float:
    """Count the tokens that the reference model reads, as if they were trained."""
    return FORWARD_SHARE * plan.tokens if plan.method == "dpo" else 0


def _count_validation_tokens(plan: JobPlan) -> float:
    """Count the tokens that validation reads, as if they were trained."""
    samples = min(SAMPLED_EVALUATIONS, plan.steps)
    sampled = samples * min(plan.validation_tokens, plan.tokens_per_step)
    return FORWARD_SHARE * (plan.epochs * plan.validation_tokens + sampled)
