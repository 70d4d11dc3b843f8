"""Estimate of a job: the checks of its creation, then its rows, numbers, time and memory."""

from functools import partial

from app.db.tables import File
from app.errors import InvalidRequest
from app.http.dependencies import AppState, run_in_transaction
from app.inference.engines import EngineClient
from app.job_estimates import problems
from app.job_estimates.checked_job import CheckedJob, check
from app.job_estimates.schemas import EstimateProblem, JobEstimate
from app.job_estimates.training import estimate_training
from app.job_estimates.workload import count_workload
from app.jobs.failures import JobFailure
from app.jobs.schemas import CreateJob
from app.training_data.cache import TrainingDataCache
from app.training_data.rendering import RowRendering
from app.training_data.statistics import MAX_READ_BYTES, MeasuredRows, measure_rows
from app.wire.long_rows import LongRowPolicy


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
    checking = partial(
        check, settings=state.settings, catalog=state.catalog, body=body, project_id=project_id
    )
    checked = await run_in_transaction(state, checking)
    request, method = checked.request, body.method_type
    failure = checked.failure
    training = None
    if failure is None:
        async with cache.slots.slot():
            measured = await _measure(state, engines, cache, checked, method, request.training)
            validation = (
                None
                if request.validation is None
                else await _measure(state, engines, cache, checked, method, request.validation)
            )
        failure = _find_row_failure(measured, validation, method)
    if failure is None:
        training = await estimate_training(state, project_id, checked, method, measured, validation)
        failure = problems.find_too_many_tokens(
            training.trained_tokens,
            max_tokens=state.settings.max_job_tokens,
            is_exact=measured.scale <= 1,
        )
    return JobEstimate(
        model=request.start_model or request.base.id,
        method=method,
        training_file=request.training.id,
        queue=checked.queue,
        problem=None if failure is None else _to_problem(failure),
        training=None if failure is not None else training,
    )


def _find_row_failure(
    measured: MeasuredRows, validation: MeasuredRows | None, method: str
) -> JobFailure | None:
    failure = problems.find_failing_rows(measured, "training")
    if failure is None:
        rows = count_workload(measured, method).rows
        failure = problems.find_nothing_learned(measured, rows)
    failure = failure or problems.find_equal_scores(measured, "training")
    if failure is None and validation is not None:
        failure = problems.find_failing_rows(validation, "validation")
        failure = failure or problems.find_equal_scores(validation, "validation")
    return failure


def _to_problem(failure: JobFailure) -> EstimateProblem:
    return EstimateProblem(code=failure.code, message=failure.message, param=failure.param)


async def _measure(
    state: AppState,
    engines: EngineClient,
    cache: TrainingDataCache,
    checked: CheckedJob,
    method: str,
    file: File,
) -> MeasuredRows:
    """Render the rows of a training or validation file, or of a sample of it."""
    request = checked.request
    assert file.format is not None
    chosen = checked.hyperparameters
    length = chosen.get("max_length", "auto")
    length = chosen.get("max_seq_length", "auto") if length == "auto" else length
    policy = chosen.get("long_rows", "auto")
    rendering = RowRendering(
        request.base,
        method,
        file.format,
        max_tokens=None if length == "auto" else int(length),
        long_rows=None if policy == "auto" else LongRowPolicy(policy),
        # Training renders all files as its own needs it.
        thinking=await cache.reasoning.find(state, request.training),
        include_facts=True,
    )
    scan, _ = await cache.scans.get(state, file)
    if not scan.sample:
        role = "training" if file is request.training else "validation"
        raise InvalidRequest(
            f"The first {MAX_READ_BYTES} bytes of the {role} file, by which a job is estimated, "
            "have no example. Remove the blank lines before the first one.",
            param=f"{role}_file",
        )
    return await measure_rows(engines, file.project_id, rendering, scan)
