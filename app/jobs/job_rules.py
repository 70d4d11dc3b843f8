"""Rules by which jobs are created, whether a request or a sweep creates them."""

from dataclasses import dataclass, field

from app.catalog import Catalog
from app.jobs.wandb_policy import WandbPolicy
from app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRules:
    """The operator's catalog, quotas and policies.

    `max_queued` is the quota of projects without one of their own, `max_tokens` the most that a job
    may train; 0 is unlimited. `is_base_sharded` is true if training divides base models among
    processes.
    """

    catalog: Catalog
    max_queued: int = 0
    max_tokens: int = 0
    wandb_policy: WandbPolicy = field(default_factory=WandbPolicy)
    is_base_sharded: bool = False

    @classmethod
    def from_settings(cls, settings: Settings, catalog: Catalog) -> "JobRules":
        return cls(
            catalog=catalog,
            max_queued=settings.max_queued_jobs_per_project,
            max_tokens=settings.max_job_tokens,
            wandb_policy=WandbPolicy.from_settings(settings),
            is_base_sharded=settings.training_sharded,
        )
