"""Requests for the jobs of a sweep: the sweep's `job` with a trial's hyperparameters."""

from collections.abc import Mapping
from typing import Any

from app.db.tables import Sweep
from app.jobs.schemas import CreateJob
from app.sweeps.space import AUTO

# Fields of a job's request that trials take over as they are.
FIELDS = frozenset(
    {
        "model",
        "training_file",
        "validation_file",
        "test_file",
        "test_metrics",
        "evaluations",
        "suffix",
        "seed",
        "integrations",
        "metadata",
    }
)
# Metadata pairs that say of which sweep, trial and rung a job is.
SWEEP_KEY = "sweep_id"
TRIAL_KEY = "sweep_trial"
RUNG_KEY = "sweep_rung"
METADATA_KEYS = (SWEEP_KEY, TRIAL_KEY, RUNG_KEY)


def to_stored_job(job: CreateJob, seed: int) -> dict[str, Any]:
    """Reduce a request to what its jobs will use. Jobs without a seed share the sweep's."""
    chosen = job.merge_hyperparameters()
    explicit = {name: value for name, value in chosen.items() if value != AUTO}
    stored = job.model_dump(mode="json", include=set(FIELDS), exclude_none=True)
    if job.integrations:
        # Without unknown fields, which creation has reported once.
        stored["integrations"] = [each.to_stored() for each in job.integrations]
    return {"seed": seed, **stored, "method": _build_method(job.method_type, explicit)}


def build_request(
    job: Mapping[str, Any], hyperparameters: Mapping[str, Any], metadata: Mapping[str, str]
) -> CreateJob:
    """Build the request for the job of a trial."""
    method = job["method"]["type"]
    chosen = {**job["method"][method]["hyperparameters"], **hyperparameters}
    tags = {**job.get("metadata", {}), **metadata}
    return CreateJob.model_validate(
        {**job, "method": _build_method(method, chosen), "metadata": tags}
    )


def build_tags(sweep: Sweep, index: int, rung: int) -> dict[str, str]:
    """Build the metadata of a trial's job."""
    return {SWEEP_KEY: sweep.id, TRIAL_KEY: str(index), RUNG_KEY: str(rung)}


def _build_method(method: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": method, method: {"hyperparameters": dict(hyperparameters)}}
