"""Rates of training: those of a project's recent jobs, or by the speed of the machine."""

import math
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import EventType, Job, JobEvent, JobState
from app.job_estimates.schemas import RateSource, TrainingRate
from app.wire.training_rows import ModelFacts

# Jobs that are looked at, and those of the most similar steps that are averaged.
MAX_RECENT_JOBS = 20
MAX_SIMILAR_JOBS = 5
# A step of few tokens takes nearly as long as one of more: jobs with other steps say little.
MAX_STEP_RATIO = 2.0
# Share of the rate of large products that training reaches: attention, pointwise operations and
# products of adapters take the rest. Measured on CPUs.
UTILIZATION = 0.55
# Operations per parameter of a layer and token: 2 forward, 2 for the gradients of activations; as
# many for those of the weights, if all are trained.
OPERATIONS_OF_ADAPTERS = 4
OPERATIONS_OF_ALL_WEIGHTS = 6
# Of a job: start of the process and uploads; load of the model and comparison with the engine.
OVERHEAD_SECONDS = 1.0
OVERHEAD_SECONDS_PER_BILLION_PARAMETERS = 30.0
# Of a step of any size: the weights are read twice at this rate, and each layer calls operations.
MEMORY_BYTES_PER_SECOND = 10e9
STEP_SECONDS_PER_LAYER = 1e-3


def find_recent_rate(
    session: Session, project_id: str, base_model: str, method: str, *, tokens_per_step: float
) -> TrainingRate | None:
    """Find the rate of the project's recent jobs with steps of similar size, if it has any."""
    # The last average of tokens per second, with validation and checkpoints.
    metrics = (
        select(JobEvent.data)
        .where(JobEvent.job_id == Job.id, JobEvent.type == EventType.METRICS)
        .order_by(JobEvent.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    jobs = session.execute(
        select(Job.trained_tokens, Job.trained_seconds, Job.total_steps, metrics)
        .where(
            Job.project_id == project_id,
            Job.state == JobState.SUCCEEDED,
            Job.base_model == base_model,
            Job.method == method,
            # Interrupted jobs were held by trainers for longer than they take.
            Job.attempt == 1,
            Job.trained_tokens > 0,
        )
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(MAX_RECENT_JOBS)
    )
    measured: list[tuple[float, float, float]] = []
    for tokens, seconds, steps, data in jobs:
        speed = (data or {}).get("tokens_per_second")
        if not isinstance(speed, int | float) or speed <= 0:
            continue
        size = max(1.0, tokens / max(1, steps or 1))
        distance = abs(math.log(size / max(1.0, tokens_per_step)))
        measured.append((distance, float(speed), max(0.0, seconds - tokens / speed)))
    similar = sorted(each for each in measured if each[0] <= math.log(MAX_STEP_RATIO))
    similar = similar[:MAX_SIMILAR_JOBS]
    if not similar:
        return None
    return TrainingRate(
        tokens_per_second=round(median(speed for _, speed, _ in similar), 1),
        overhead_seconds=round(median(overhead for _, _, overhead in similar), 1),
        source=RateSource.RECENT_JOBS,
        jobs=len(similar),
    )


def derive_rate(facts: ModelFacts, *, steps: int, trains_all_weights: bool) -> TrainingRate:
    """Derive a rate from the machine's speed and the model's size."""
    operations = OPERATIONS_OF_ALL_WEIGHTS if trains_all_weights else OPERATIONS_OF_ADAPTERS
    per_token = operations * facts.layer_parameters
    speed = UTILIZATION * facts.gigaflops * 1e9 / max(1, per_token)
    of_job = OVERHEAD_SECONDS
    of_job += OVERHEAD_SECONDS_PER_BILLION_PARAMETERS * facts.num_parameters / 1e9
    read = 2 * facts.num_parameters * facts.bytes_per_parameter / MEMORY_BYTES_PER_SECOND
    of_step = read + STEP_SECONDS_PER_LAYER * facts.num_layers
    return TrainingRate(
        tokens_per_second=round(speed, 1),
        overhead_seconds=round(of_job + steps * of_step, 1),
        source=RateSource.MACHINE,
        jobs=0,
    )
