"""Plan of a sweep: the combinations that it tries first. Raises InvalidRequest."""

import math
from collections.abc import Mapping

from app.db.tables import SweepStrategy
from app.errors import InvalidRequest
from app.jobs.schemas import CreateJob
from app.sweeps import halving
from app.sweeps.halving import ELIMINATION_RATE, Rung
from app.sweeps.schemas import MAX_JOBS
from app.sweeps.space import AUTO, Axis, Combination, Range, draw_combinations, list_combinations

# The hyperparameter of which successive halving gives more to fewer.
RESOURCE = "n_epochs"


def plan_combinations(
    strategy: SweepStrategy, job: CreateJob, axes: Mapping[str, Axis], max_jobs: int, seed: int
) -> list[Combination]:
    """Choose the combinations of a grid, of random search, or of the first rung of halving."""
    if strategy is SweepStrategy.GRID:
        return _plan_grid(axes, max_jobs)
    drawn = draw_combinations(axes, max_jobs, seed)
    if strategy is SweepStrategy.RANDOM:
        return drawn
    rungs = _plan_rungs(job, axes, max_jobs, len(drawn))
    return [{**each, RESOURCE: rungs[0].n_epochs} for each in drawn[: rungs[0].trials]]


def _plan_grid(axes: Mapping[str, Axis], max_jobs: int) -> list[Combination]:
    sizes = []
    for name, axis in axes.items():
        if isinstance(axis, Range):
            raise InvalidRequest(
                f"Invalid 'space.{name}': a grid tries listed values, not a range. List them, or "
                "use strategy 'random'.",
                param=f"space.{name}",
                code="invalid_value",
            )
        sizes.append(len(axis.values))
    total = math.prod(sizes)
    if total > max_jobs:
        product = " x ".join(map(str, sizes)) + (f" = {total}" if len(sizes) > 1 else "")
        raise InvalidRequest(
            f"The grid has {product} combinations, more than 'max_jobs', {max_jobs}. List fewer "
            f"values, raise max_jobs (up to {MAX_JOBS}), or use strategy 'random'.",
            param="max_jobs",
            code="invalid_value",
        )
    return list(list_combinations(axes))


def _plan_rungs(
    job: CreateJob, axes: Mapping[str, Axis], max_jobs: int, combinations: int
) -> list[Rung]:
    if RESOURCE in axes:
        raise InvalidRequest(
            f"Invalid 'space.{RESOURCE}': successive halving chooses it for each rung, up to that "
            "of the job. Omit it here.",
            param=f"space.{RESOURCE}",
            code="invalid_value",
        )
    n_epochs = job.merge_hyperparameters()[RESOURCE]
    if n_epochs == AUTO or n_epochs < ELIMINATION_RATE:
        path = f"job.{job.build_param_path(RESOURCE)}"
        raise InvalidRequest(
            f"Invalid '{path}': successive halving trains the last rung for so many epochs, and "
            f"the others for a third of the next; give a number of at least {ELIMINATION_RATE}.",
            param=path,
            code="invalid_value",
        )
    rungs = halving.plan_rungs(max_jobs=max_jobs, n_epochs=n_epochs, combinations=combinations)
    if len(rungs) == 1:
        raise InvalidRequest(
            f"Successive halving needs at least {ELIMINATION_RATE} combinations, and "
            f"{ELIMINATION_RATE + 1} jobs to train the best of them for longer. Raise max_jobs, "
            "widen the space, or use strategy 'random'.",
            param="max_jobs" if max_jobs <= ELIMINATION_RATE else "space",
            code="invalid_value",
        )
    return rungs
