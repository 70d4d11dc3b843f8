"""Contents of a job's page, from the API: the job, its files, relatives and events."""

import asyncio
from collections.abc import Sequence
from typing import Any

from app.console.api_client import ApiCallError, ApiClient, build_path
from app.console.evaluation_report import list_metrics
from app.console.number_fields import BY_NAME

JOBS = "/v1/fine_tuning/jobs"
INCLUDE = {"include[]": ["progress", "requested_hyperparameters"]}
ENDED = ("succeeded", "failed", "cancelled")
MAX_EVENTS = 50
MAX_CHECKPOINTS = 100
MAX_CHILDREN = 20
MAX_ATTEMPTS = 20
# The page of the evaluation has all.
MAX_TEST_METRICS = 6
# Steps whose points each update repeats: more than are trained between two updates.
TAIL_STEPS = 200

Job = dict[str, Any]


def build_job_path(job_id: str, *parts: str) -> str:
    return JOBS + build_path(job_id, *parts)


async def load_job(api: ApiClient, job_id: str) -> Job:
    job: Job = await api.get(build_job_path(job_id), INCLUDE)
    return job


async def load_live_parts(
    api: ApiClient, job_id: str, events_after: str | None = None
) -> dict[str, Any]:
    """Load the parts that change while a job runs, apart from its curves."""
    job, events, checkpoints, attempts = await asyncio.gather(
        load_job(api, job_id),
        api.get(
            build_job_path(job_id, "events"), {"limit": MAX_EVENTS, "after": events_after or None}
        ),
        api.get(build_job_path(job_id, "checkpoints"), {"limit": MAX_CHECKPOINTS}),
        load_attempts(api, job_id),
    )
    return {
        "job": job,
        "events": events["data"],
        "has_older_events": events["has_more"],
        "checkpoints": checkpoints["data"],
        "attempts": attempts,
        "tokens_per_second": find_speed(events["data"]),
        "numbers": list_numbers(job),
        "test_metrics": list_metrics(job["test_results"] or {})[:MAX_TEST_METRICS],
    }


async def load_attempts(api: ApiClient, job_id: str) -> list[dict[str, Any]]:
    """Load the newest attempts at a job, newest first."""
    page = await api.get(build_job_path(job_id, "attempts"), {"limit": MAX_ATTEMPTS})
    attempts: list[dict[str, Any]] = page["data"]
    return attempts


async def load_tail(api: ApiClient, job: Job) -> tuple[int, dict[str, Any]]:
    """Load the newest points of a job's curves, and the step after which they are."""
    after_step = max(0, job["progress"]["step"] - TAIL_STEPS)
    query = {"after_step": after_step, "max_points": 10 * TAIL_STEPS}
    return after_step, await api.get(build_job_path(job["id"], "metrics"), query)


async def load_lineage(api: ApiClient, job: Job) -> dict[str, Any]:
    """Load what a job was made of and what was made of it. A file may be deleted meanwhile."""
    names = ("training_file", "validation_file", "test_file")
    ids = [job[name] for name in names if job[name]] + job["result_files"]
    files, parent, children = await asyncio.gather(
        asyncio.gather(*(_find(api, "/v1/files" + build_path(id)) for id in ids)),
        _find_parent(api, job["model"]),
        _find_children(api, job["fine_tuned_model"]),
    )
    return {"files": dict(zip(ids, files, strict=True)), "parent": parent, "children": children}


def list_numbers(job: Job) -> list[dict[str, Any]]:
    """List the numbers of this run: each with what was requested, and if "auto" chose it."""
    requested = job["requested_hyperparameters"]
    rows = [
        {
            "name": name,
            "label": BY_NAME[name].label if name in BY_NAME else name,
            "value": value,
            "is_auto": requested.get(name, "auto") == "auto",
        }
        for name, value in sorted(job["hyperparameters"].items())
    ]
    seed = {"name": "seed", "label": "Seed", "value": job["seed"], "is_auto": None}
    return [*rows, seed]


def find_speed(events: Sequence[Job]) -> float | None:
    """Find the newest speed in tokens per second; None if no event of the page has one."""
    speeds = ((event["data"] or {}).get("tokens_per_second") for event in events)
    return next((speed for speed in speeds if speed is not None), None)


async def _find(api: ApiClient, path: str) -> Any:
    """GET an object; None if it does not exist (any more)."""
    try:
        return await api.get(path)
    except ApiCallError as error:
        if error.status != 404:
            raise
        return None


async def _find_parent(api: ApiClient, model: str) -> Job | None:
    """Find the job that made the model that training started from."""
    if not model.startswith("ft:"):
        return None
    page = await api.get(JOBS, {"search": model[:128], "limit": MAX_CHILDREN})
    return next((job for job in page["data"] if job["fine_tuned_model"] == model), None)


async def _find_children(api: ApiClient, model: str | None) -> list[Job]:
    """Find the newest jobs that started from this job's model."""
    if model is None:
        return []
    page = await api.get(JOBS, {"model": model, "limit": MAX_CHILDREN})
    jobs: list[Job] = page["data"]
    return jobs
